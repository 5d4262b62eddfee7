use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::isolate::exit::{CHANNEL_LOST, end};
use crate::isolate::wire::{Body, Control, Message, Order, line};

/// An operation's way to the host: cheap to clone, usable from any thread. Whoever speaks on a
/// channel that no longer works ends the process: nobody would hear the answer.
pub struct Channel<E> {
    shared: Shared,
    events: PhantomData<fn(E)>,
}

impl<E> Clone for Channel<E> {
    fn clone(&self) -> Self {
        Self::new(self.shared.clone())
    }
}

impl<E> Channel<E> {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared, events: PhantomData }
    }

    /// Says which phase is about to begin. A failure from here on is reported as one of this phase.
    pub fn phase(&self, name: &str) {
        self.shared.send(&Body::<Never, Never>::Phase(name.to_owned()));
    }

    /// True once the user wants no new work to begin.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared.0.draining.load(Ordering::Relaxed)
    }

    /// True once the user wants it to end at once: the process is killed a moment later.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.shared.0.cancelled.load(Ordering::Relaxed)
    }

    /// Has `value` dropped after the answer is out, within a short grace. For whatever runs a
    /// plugin's destructors, so that one that hangs or crashes does not cost the answer.
    pub fn drop_after_answer(&self, value: impl Send + 'static) {
        self.shared.0.after.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(value));
    }
}

impl<E: Serialize> Channel<E> {
    /// Tells the host something.
    pub fn event(&self, event: E) {
        self.shared.send(&Body::<E, Never>::Event(event));
    }
}

/// Serialisable, never a value.
#[derive(Serialize)]
enum Never {}

#[derive(Clone)]
pub(super) struct Shared(Arc<Inner>);

struct Inner {
    socket: Mutex<File>,
    identity: (u64, u64),
    nonce: String,
    draining: AtomicBool,
    cancelled: AtomicBool,
    after: Mutex<Vec<Box<dyn Send>>>,
}

impl Shared {
    /// Takes over the channel after its first line.
    pub(super) fn new(reader: BufReader<File>, nonce: String) -> io::Result<Self> {
        let socket = reader.get_ref().try_clone()?;
        let identity = identity(&socket)?;
        let shared = Self(Arc::new(Inner {
            socket: Mutex::new(socket),
            identity,
            nonce,
            draining: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            after: Mutex::default(),
        }));
        let listener = shared.clone();
        std::thread::Builder::new().name("bench-control".into()).spawn(move || listener.listen(reader))?;
        Ok(shared)
    }

    fn listen(&self, reader: BufReader<File>) {
        for line in reader.lines() {
            let Ok(line) = line else { end(CHANNEL_LOST) };
            match serde_json::from_str::<Order>(&line) {
                Ok(order) if order.nonce == self.0.nonce => {
                    self.0.draining.store(true, Ordering::Relaxed);
                    if order.control == Control::Cancel {
                        self.0.cancelled.store(true, Ordering::Relaxed);
                    }
                }
                // A later host might know more orders; one that we do not know changes nothing.
                _ => {}
            }
        }
        end(CHANNEL_LOST)
    }

    fn send<B: Serialize>(&self, body: &B) {
        let socket = self.0.socket.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&socket, body);
    }

    fn write<B: Serialize>(&self, socket: &MutexGuard<'_, File>, body: &B) {
        let Ok(bytes) = line(&Message { nonce: self.0.nonce.clone(), body }) else { end(CHANNEL_LOST) };
        // A plugin that closed every descriptor may have opened a file in this one's place.
        let ours = identity(socket).is_ok_and(|now| now == self.0.identity);
        if !ours || (&**socket).write_all(&bytes).is_err() {
            end(CHANNEL_LOST);
        }
    }

    /// Sends the last message. Other threads that would speak after it wait for the end.
    pub(super) fn answer<B: Serialize>(&self, body: B) {
        let socket = self.0.socket.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&socket, &body);
        std::mem::forget(socket);
    }

    /// Drops what was to be dropped after the answer; false when that took longer than `grace`.
    pub(super) fn close(&self, grace: Duration) -> bool {
        let values = std::mem::take(&mut *self.0.after.lock().unwrap_or_else(PoisonError::into_inner));
        if values.is_empty() {
            return true;
        }
        let (done, wait) = mpsc::channel();
        let dropper = std::thread::Builder::new().spawn(move || {
            drop(values);
            // Nobody listens any more once the grace is over.
            let _ = done.send(());
        });
        let Ok(dropper) = dropper else { return false };
        match wait.recv_timeout(grace) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                // It unwinds. An exception of another language ends the process in a moment, a panic does not.
                let _ = dropper.join();
                std::process::abort()
            }
        }
    }
}

fn identity(socket: &File) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(socket)?;
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

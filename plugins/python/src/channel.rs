//! Messages on the channel; `bench_engine/channel.py` describes the format.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Bytes before a message's payload.
const HEAD: usize = 5;
/// Room that is always there for a read.
const CHUNK: usize = 1 << 16;

/// What came up.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A message: its kind and its payload.
    Message(u8, &'a [u8]),
    /// Nothing within the time given.
    Nothing,
    /// The driver closed its end.
    Closed,
}

/// Reads messages, each as one slice.
pub struct Messages {
    pipe: File,
    buffer: Vec<u8>,
    /// The unread bytes are `buffer[start..end]`.
    start: usize,
    end: usize,
}

impl Messages {
    pub fn new(pipe: File) -> Self {
        Self { pipe, buffer: vec![0; 4 * CHUNK], start: 0, end: 0 }
    }

    /// The next message, waiting at most `patience` for more bytes.
    pub fn next(&mut self, patience: Duration) -> io::Result<Incoming<'_>> {
        loop {
            if let Some(length) = self.complete() {
                let (kind, payload) = (self.buffer[self.start + 4], self.start + HEAD..self.start + length);
                self.start += length;
                return Ok(Incoming::Message(kind, &self.buffer[payload]));
            }
            if !readable(&self.pipe, patience)? {
                return Ok(Incoming::Nothing);
            }
            self.make_room();
            match self.pipe.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(Incoming::Closed),
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Length of the first message, once all of it is there.
    fn complete(&self) -> Option<usize> {
        let unread = &self.buffer[self.start..self.end];
        let length = self.announced()?;
        (unread.len() >= length).then_some(length)
    }

    fn announced(&self) -> Option<usize> {
        let head = self.buffer[self.start..self.end].first_chunk::<4>()?;
        Some(HEAD + u32::from_le_bytes(*head) as usize)
    }

    fn make_room(&mut self) {
        let wanted = self.announced().unwrap_or(0).max(self.end - self.start + CHUNK);
        if self.start > 0 && self.start + wanted > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.start + wanted > self.buffer.len() {
            self.buffer.resize(self.start + wanted, 0);
        }
    }
}

fn readable(pipe: &File, patience: Duration) -> io::Result<bool> {
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
    match poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&timeout)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Writes one message down. An empty one ends the stream.
pub fn send(pipe: &mut File, batch: &[u8]) -> io::Result<()> {
    let length = u32::try_from(batch.len()).map_err(|_| io::Error::other("a batch exceeds 4 GiB"))?;
    pipe.write_all(&length.to_le_bytes())?;
    pipe.write_all(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pipe() -> (Messages, File) {
        let (read, write) = rustix::pipe::pipe().unwrap();
        (Messages::new(read.into()), write.into())
    }

    fn message(kind: u8, payload: &[u8]) -> Vec<u8> {
        [&(payload.len() as u32).to_le_bytes()[..], &[kind], payload].concat()
    }

    #[test]
    fn messages_of_every_size_arrive_whole_and_in_order() {
        let (mut messages, mut write) = pipe();
        let sizes = [0, 1, 100, 70_000, 3, 1_000_000, 5];
        let writer = std::thread::spawn(move || {
            for (index, size) in sizes.iter().enumerate() {
                for part in message(b'R', &vec![index as u8; *size]).chunks(50_000) {
                    write.write_all(part).unwrap();
                }
            }
        });
        for (index, size) in sizes.iter().enumerate() {
            let wanted = vec![index as u8; *size];
            let got = messages.next(Duration::from_secs(300)).unwrap();
            assert!(got == Incoming::Message(b'R', &wanted), "message {index}");
        }
        writer.join().unwrap();
        assert_eq!(messages.next(Duration::from_secs(300)).unwrap(), Incoming::Closed);
    }

    #[test]
    fn silence_is_nothing_and_half_a_message_too() {
        let (mut messages, mut write) = pipe();
        write.write_all(&message(b'D', b"abc")[..6]).unwrap();
        assert_eq!(messages.next(Duration::from_millis(20)).unwrap(), Incoming::Nothing);
    }
}

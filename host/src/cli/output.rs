//! The one place that writes to standard output and standard error.
//!
//! `println!` panics where a disk is full or a reader went away, hence these. A reader that went away, as
//! `head -1` does, has seen what it wanted: it gets no more, and nothing else changes, exit code included. Any
//! other failure of standard output is said at the end, in one sentence and with an exit code: by then what the
//! command measured is in its files. On standard error are words for people; where it fails nobody can be told.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anstyle::{AnsiColor, Style};

use super::{Exit, Stopped};

/// Prints a line on standard output, in colour where that is wanted.
macro_rules! say {
    ($($words:tt)*) => { $crate::cli::output::out(format_args!("{}\n", format_args!($($words)*))) };
}

/// Prints a line on standard error, in colour where that is wanted.
macro_rules! tell {
    ($($words:tt)*) => { $crate::cli::output::err(format_args!("{}\n", format_args!($($words)*))) };
}

pub(super) use {say, tell};

const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default().bold();

/// What stopped a stream; nothing more is written to it.
static OUT: Mutex<Option<io::Error>> = Mutex::new(None);
static ERR: Mutex<Option<io::Error>> = Mutex::new(None);

/// Prints on standard output.
pub fn out(text: Arguments<'_>) {
    print(&OUT, &mut anstream::stdout(), text);
}

/// Prints on standard error.
pub fn err(text: Arguments<'_>) {
    print(&ERR, &mut anstream::stderr(), text);
}

/// Prints a value on standard output, as JSON.
pub fn json(value: &impl serde::Serialize) -> Result<(), Stopped> {
    let text = serde_json::to_string_pretty(value).map_err(|cause| Stopped::new(Exit::Output, cause, ""))?;
    say!("{text}");
    Ok(())
}

/// Prints an error and what to do about it, and what would be lost otherwise.
pub fn error(stopped: &Stopped) {
    if let Some(record) = &stopped.rescued {
        say!("{record}");
    }
    tell!("{RED}error{RED:#}: {}", stopped.message);
    if !stopped.remedy.is_empty() {
        tell!("  {BOLD}try{BOLD:#}: {}", stopped.remedy);
    }
}

/// Says how a command went, and whether everybody could be told.
pub fn conclude(result: Result<Exit, Stopped>) -> Exit {
    let mut failed = failure(&OUT);
    if failed.is_none() {
        *failed = anstream::stdout().flush().err();
    }
    let result = verdict(result, failed.as_ref());
    drop(failed);
    result.unwrap_or_else(|(stopped, exit)| {
        error(&stopped);
        exit
    })
}

/// An exit code that says more than that all went well stands, whoever heard of it.
fn verdict(result: Result<Exit, Stopped>, failed: Option<&io::Error>) -> Result<Exit, (Stopped, Exit)> {
    match (result, failed) {
        (Err(stopped), _) => {
            let exit = stopped.exit;
            Err((stopped, exit))
        }
        (Ok(exit), Some(cause)) if cause.kind() != io::ErrorKind::BrokenPipe => {
            let text = format!(
                "standard output cannot be written: {cause}; files that the command wrote are complete"
            );
            let stopped = Stopped::new(Exit::Output, text, "");
            Err((stopped, if exit == Exit::Ok { Exit::Output } else { exit }))
        }
        (Ok(exit), _) => Ok(exit),
    }
}

fn print(failed: &Mutex<Option<io::Error>>, to: &mut dyn Write, text: Arguments<'_>) {
    let mut failed = failure(failed);
    if failed.is_none() {
        *failed = to.write_fmt(text).err();
    }
}

fn failure(of: &Mutex<Option<io::Error>>) -> MutexGuard<'_, Option<io::Error>> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fails(usize);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.0 += 1;
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stream_that_failed_is_not_written_to_again() {
        let (failed, mut stream) = (Mutex::new(None), Fails(0));
        print(&failed, &mut stream, format_args!("one\n"));
        print(&failed, &mut stream, format_args!("two\n"));
        assert_eq!(stream.0, 1);
        assert_eq!(failure(&failed).as_ref().map(io::Error::kind), Some(io::ErrorKind::StorageFull));
    }

    #[test]
    fn a_reader_that_went_away_changes_nothing_and_a_full_disk_is_said() {
        let exit = |result: Result<Exit, Stopped>, kind: io::ErrorKind| {
            verdict(result, Some(&kind.into())).map_err(|(stopped, exit)| (stopped.message, exit))
        };
        let (gone, full) = (io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull);
        assert_eq!(exit(Ok(Exit::Ok), gone), Ok(Exit::Ok));
        assert_eq!(exit(Ok(Exit::Regression), gone), Ok(Exit::Regression));
        let (message, code) = exit(Ok(Exit::Ok), full).unwrap_err();
        assert_eq!((message.contains("standard output cannot be written"), code), (true, Exit::Output));
        assert_eq!(exit(Ok(Exit::Regression), full).unwrap_err().1, Exit::Regression);
        let stopped = || Err(Stopped::new(Exit::TimedOut, "too slow", ""));
        assert_eq!(exit(stopped(), full), Err(("too slow".to_owned(), Exit::TimedOut)));
    }
}

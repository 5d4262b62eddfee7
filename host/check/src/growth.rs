//! Whether what is done over and over takes more and more.
//!
//! A runtime that is set up the first times takes what it needs: threads, arenas, descriptors. That ends, a leak does
//! not. So nothing is compared with a baseline: looks go on until a stretch of them shows no growth, and what has
//! shown some in every stretch by the last look grows steadily.

/// How often something is done between two looks.
pub const TURNS_PER_LOOK: usize = 25;
/// Looks in a stretch.
const STRETCH: usize = 12;
/// Looks after which growth is steady.
const LOOKS: usize = 80;
/// Bytes a turn that an allocator may take without there being a leak.
const BYTES_PER_TURN: u64 = 4 << 10;

/// What a process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub threads: usize,
    pub descriptors: usize,
    /// Of physical memory.
    pub bytes: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Growth {
    /// There was a stretch without any.
    Ended,
    /// There was none; what grew, and how fast.
    Steady(String),
    /// Time was over before there was one stretch of looks; how many there were.
    Unknown(usize),
}

/// Calls `look`, which does [`TURNS_PER_LOOK`] turns and says what is taken after them, until growth has ended or it is
/// certain that it does not. Whether `time_is_over` only matters before there is a stretch: how quick a machine is must
/// not decide what counts as steady.
///
/// # Errors
/// When `look` fails.
pub fn watch<E>(
    mut look: impl FnMut() -> Result<Taken, E>,
    time_is_over: impl Fn() -> bool,
) -> Result<Growth, E> {
    let mut looks: Vec<Taken> = Vec::new();
    loop {
        looks.push(look()?);
        match stretch(&looks).map(growth) {
            None if time_is_over() => return Ok(Growth::Unknown(looks.len())),
            Some(grown) if grown.is_empty() => return Ok(Growth::Ended),
            Some(grown) if looks.len() == LOOKS => {
                let turns = looks.len() * TURNS_PER_LOOK;
                let what = format!("after {turns} times it still takes more: {}", grown.join(", "));
                return Ok(Growth::Steady(what));
            }
            _ => {}
        }
    }
}

/// The last looks, if there are enough.
fn stretch(looks: &[Taken]) -> Option<&[Taken]> {
    looks.len().checked_sub(STRETCH).map(|from| &looks[from..])
}

/// What grew over a stretch, in words.
fn growth(stretch: &[Taken]) -> Vec<String> {
    let turns = (stretch.len() - 1) * TURNS_PER_LOOK;
    let rise = |of: fn(&Taken) -> usize| of(&stretch[stretch.len() - 1]).saturating_sub(of(&stretch[0]));
    let counted =
        [(rise(|taken| taken.threads), "threads"), (rise(|taken| taken.descriptors), "open descriptors")];
    let mut grown: Vec<String> = counted
        .into_iter()
        .filter(|(rise, _)| *rise > 0)
        .map(|(rise, what)| format!("{rise} {what} in {turns} times"))
        .collect();
    // The middle of the steps: an arena that is taken at once is one step, a leak is most of them.
    let mut steps: Vec<u64> =
        stretch.windows(2).map(|two| two[1].bytes.saturating_sub(two[0].bytes)).collect();
    steps.sort_unstable();
    let step = steps[steps.len() / 2];
    if step > BYTES_PER_TURN * TURNS_PER_LOOK as u64 {
        grown.push(format!("{} KiB of memory each time", (step / TURNS_PER_LOOK as u64) >> 10));
    }
    grown
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Watches something of which the nth look finds `taken(n)`.
    fn watched(taken: impl Fn(usize) -> Taken) -> Growth {
        let mut looks = 0;
        let look = || {
            looks += 1;
            Ok::<_, ()>(taken(looks))
        };
        watch(look, || false).unwrap()
    }

    const IDLE: Taken = Taken { threads: 2, descriptors: 10, bytes: 50 << 20 };

    fn steady(taken: impl Fn(usize) -> Taken) -> String {
        match watched(taken) {
            Growth::Steady(what) => what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_takes_nothing_passes_at_the_first_stretch() {
        let mut looks = 0;
        let look = || {
            looks += 1;
            Ok::<_, ()>(IDLE)
        };
        assert_eq!(watch(look, || false), Ok(Growth::Ended));
        assert_eq!(looks, STRETCH);
    }

    #[test]
    fn what_grows_steadily_fails_with_what_and_how_fast() {
        let threads = steady(|look| Taken { threads: 2 + look, ..IDLE });
        assert_eq!(threads, "after 2000 times it still takes more: 11 threads in 275 times");
        let slow = steady(|look| Taken { descriptors: 10 + look / 8, ..IDLE });
        assert!(slow.ends_with("open descriptors in 275 times"), "{slow}");
        let memory = steady(|look| Taken { bytes: look as u64 * (200 << 10), ..IDLE });
        assert!(memory.contains("8 KiB of memory each time"), "{memory}");
    }

    #[test]
    fn what_grows_at_first_and_then_no_more_passes() {
        // A runtime that starts threads and takes arenas for the first thousand times.
        let warming = |look: usize| Taken {
            threads: 2 + look.min(40),
            descriptors: 10 + look.min(20),
            bytes: IDLE.bytes + look.min(40) as u64 * (4 << 20),
        };
        assert_eq!(watched(warming), Growth::Ended);
    }

    #[test]
    fn a_late_arena_is_no_leak() {
        let late = |look: usize| Taken { bytes: IDLE.bytes + if look > 6 { 64 << 20 } else { 0 }, ..IDLE };
        assert_eq!(watched(late), Growth::Ended);
    }

    #[test]
    fn an_allocator_that_keeps_a_little_is_no_leak() {
        let little = |look: usize| Taken { bytes: IDLE.bytes + look as u64 * (50 << 10), ..IDLE };
        assert_eq!(watched(little), Growth::Ended);
    }

    #[test]
    fn too_little_time_says_so() {
        assert_eq!(watch(|| Ok::<_, ()>(IDLE), || true), Ok(Growth::Unknown(1)));
    }

    #[test]
    fn on_a_slow_machine_a_warm_up_is_no_leak_either() {
        let looks = Cell::new(0);
        let warming = || {
            looks.set(looks.get() + 1);
            Ok::<_, ()>(Taken { threads: 2 + looks.get().min(40), ..IDLE })
        };
        assert_eq!(watch(warming, || looks.get() >= STRETCH), Ok(Growth::Ended));
    }
}

//! What a run kept of its answers, held against the schedule.

use std::io;
use std::path::Path;

use bench_judge::recovery::{Answer, Arrival, Course};
use bench_measure::completions::{self, Completion, What};
use bench_measure::emitter::Due;
use bench_measure::plan::Plan;
use bench_record::Error;
use bench_record::evidence::Killed;

/// Reads what was kept in the folder of a run of which so many arrivals were taken.
///
/// # Errors
/// When it cannot be read, or belongs to another schedule.
pub(super) fn read(
    plan: &Plan,
    folder: &Path,
    taken: u64,
    killed: &Killed,
    broke: Option<String>,
) -> bench_record::Result<Course> {
    let path = folder.join(completions::FILE_NAME);
    let kept = completions::read(&path).map_err(Error::io("read", &path))?;
    let due: Vec<u64> = Due::of(plan).into_iter().flatten().take(plan.num_tasks as usize).collect();
    let mut course = of(&due, &kept, killed).map_err(Error::io("read", &path))?;
    (course.settle, course.taken, course.broke) = (plan.warmup_items as usize, taken, broke);
    Ok(course)
}

/// `due` are nanoseconds since the first arrival.
fn of(due: &[u64], kept: &[Completion], killed: &Killed) -> io::Result<Course> {
    let wrong = |why: &str| io::Error::other(why.to_owned());
    let is_first = |completion: &&Completion| matches!(completion.what, What::Ok | What::Failed);
    let firsts =
        kept.iter().filter(is_first).filter_map(|completion| Some((completion.intended_ns?, completion)));
    let mut firsts: Vec<(u64, &Completion)> = firsts.collect();
    firsts.sort_by_key(|(intended_ns, _)| *intended_ns);
    // Whoever was answered at all was answered the first arrivals: nothing was killed by then.
    let began_ns = firsts.first().ok_or_else(|| wrong("nothing was answered"))?.0;
    let since = |ns: u64| (i128::from(ns) - i128::from(began_ns)) as f64 / 1e9;
    let mut rest = firsts.into_iter().peekable();
    let arrivals = due.iter().map(|due_ns| {
        let answer = rest.next_if(|(intended_ns, _)| *intended_ns == began_ns + due_ns);
        let answer =
            answer.map(|(_, first)| Answer { at: since(first.answered_ns), ok: first.what == What::Ok });
        Arrival { due: *due_ns as f64 / 1e9, answer }
    });
    let arrivals: Vec<Arrival> = arrivals.collect();
    if rest.peek().is_some() {
        return Err(wrong("it has answers to arrivals that are not in the schedule"));
    }
    let count = |what| kept.iter().filter(|completion| completion.what == what).count() as u64;
    let at_its_record = || arrivals.get(killed.after as usize).map(|arrival| arrival.due);
    let killed_at = killed.monotonic_ns.map(since).or_else(at_its_record);
    Ok(Course {
        settle: 0,
        taken: arrivals.len() as u64,
        killed_at: killed_at.ok_or_else(|| wrong("nothing was killed within it"))?,
        duplicated: count(What::Duplicate),
        unexpected: count(What::Unexpected),
        broke: None,
        arrivals,
    })
}

#[cfg(test)]
mod tests {
    use bench_record::evidence::Victim;

    use super::*;

    fn killed(monotonic_ns: Option<u64>) -> Killed {
        Killed {
            what: Victim::Worker,
            after: 2,
            at: None,
            monotonic_ns,
            processes: Vec::new(),
            calls: None,
            in_flight: None,
            operator: None,
        }
    }

    fn completion(what: What, intended_ns: u64, answered_ns: u64) -> Completion {
        let intended_ns = matches!(what, What::Ok | What::Failed).then_some(intended_ns);
        Completion { what, intended_ns, answered_ns }
    }

    const BEGAN: u64 = 7_000_000_000;
    const DUE: [u64; 4] = [0, 1_000_000_000, 2_000_000_000, 3_000_000_000];

    #[test]
    fn each_answer_finds_its_arrival_in_whatever_order_they_came() {
        let kept = [
            completion(What::Failed, BEGAN + DUE[1], BEGAN + 1_500_000_000),
            completion(What::Duplicate, 0, BEGAN + 1_600_000_000),
            completion(What::Unexpected, 0, BEGAN + 1_700_000_000),
            completion(What::Ok, BEGAN, BEGAN + 2_500_000_000),
            completion(What::Ok, BEGAN + DUE[3], BEGAN + 3_100_000_000),
        ];
        let course = of(&DUE, &kept, &killed(Some(BEGAN + 1_250_000_000))).unwrap();
        let answer = |at, ok| Some(Answer { at, ok });
        let answers: Vec<_> = course.arrivals.iter().map(|arrival| arrival.answer).collect();
        assert_eq!(answers, [answer(2.5, true), answer(1.5, false), None, answer(3.1, true)]);
        assert_eq!((course.killed_at, course.duplicated, course.unexpected), (1.25, 1, 1));
        // An operator panics at its record.
        assert_eq!(of(&DUE, &kept, &killed(None)).unwrap().killed_at, 2.0);
    }

    #[test]
    fn answers_of_another_schedule_are_refused() {
        let said = |kept: &[Completion]| of(&DUE, kept, &killed(None)).unwrap_err().to_string();
        let other = [completion(What::Ok, BEGAN, BEGAN), completion(What::Ok, BEGAN + 17, BEGAN + 20)];
        assert_eq!(said(&other), "it has answers to arrivals that are not in the schedule");
        assert_eq!(said(&[]), "nothing was answered");
    }
}

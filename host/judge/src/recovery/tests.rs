use super::*;

/// Fixed arrivals, 80 a second for a minute.
const RATE: f64 = 80.0;
const SECONDS: f64 = 60.0;
const KILL: f64 = 24.0;

/// One after the other by a server that answers 100 a second, and none from `from` to `until`; one that is under way
/// at that moment begins again. The first twelve seconds settle it.
fn queue(from: f64, until: f64, answers: impl Fn(usize, f64) -> Option<Answer>) -> Course {
    let mut free = 0.0_f64;
    let arrivals: Vec<Arrival> = (0..(RATE * SECONDS) as usize)
        .map(|number| {
            let due = number as f64 / RATE;
            let mut begin = free.max(due);
            if begin + 0.01 > from && begin < until {
                begin = until.max(due);
            }
            free = begin + 0.01;
            Arrival { due, answer: answers(number, free) }
        })
        .collect();
    let taken = arrivals.len() as u64;
    let settle = arrivals.len() / 5;
    Course { arrivals, settle, taken, killed_at: from, duplicated: 0, unexpected: 0, broke: None }
}

fn good(_number: usize, at: f64) -> Option<Answer> {
    Some(Answer { at, ok: true })
}

fn near(figure: Option<f64>, wanted: f64) -> bool {
    figure.is_some_and(|figure| (figure - wanted).abs() <= 0.05 * wanted.abs().max(0.5))
}

#[test]
fn a_crash_with_recovery_has_its_outage_its_catching_up_and_its_debt() {
    // Five seconds of nothing: 400 wait, and 20 a second more are answered than come.
    let judged = judge(&queue(KILL, KILL + 5.0, good));
    assert_eq!(judged.verdict, Verdict::Recovered, "{judged:?}");
    assert!(
        near(judged.seconds_to_drop.zip(judged.seconds_to_recover).map(|(a, b)| a + b), 5.0),
        "{judged:?}"
    );
    assert!(judged.seconds_to_drop.unwrap() < 0.1, "{judged:?}");
    assert!(near(judged.seconds_to_catch_up, 5.0 + 20.0), "{judged:?}");
    // To a window of a second.
    assert!((24.0..=27.0).contains(&judged.seconds_to_p99.unwrap()), "{judged:?}");
    // The waiting time falls from 5 s to nothing while 25 s of arrivals come.
    assert!(near(judged.latency_debt_seconds, 5.0 * 25.0 * RATE / 2.0), "{judged:?}");
    assert_eq!((judged.lost, judged.never_taken, judged.failed), (0, 0, 0));
    assert!(judged.late.is_some_and(|late| (1_900..=2_000).contains(&late)), "{judged:?}");
    let before = judged.before.unwrap();
    assert!(near(Some(before.throughput), RATE) && (before.p99_ms - 10.0).abs() < 1e-6, "{before:?}");
    assert_eq!((before.from, before.until, before.most_backlog, judged.unknown.len()), (12.0, 24.0, 1, 0));
}

#[test]
fn a_backend_that_never_answers_again_has_not_recovered_and_what_it_lost_is_counted() {
    let silent = |number, at| good(number, at).filter(|answer| answer.at <= KILL);
    let course = Course { taken: 1_950, broke: Some("its driver died".into()), ..queue(KILL, KILL, silent) };
    let judged = judge(&course);
    assert_eq!(
        (judged.verdict, judged.why.as_str()),
        (Verdict::NotRecovered, "the run failed: its driver died")
    );
    // Arrivals of 24 s were answered, 30 more taken, and the rest was never asked for.
    assert_eq!(judged.lost + judged.never_taken, 4_800 - 1_920);
    assert_eq!(judged.never_taken, 4_800 - 1_950);
    assert_eq!(
        (judged.seconds_to_recover, judged.seconds_to_p99, judged.latency_debt_seconds),
        (None, None, None)
    );
    for figure in ["seconds_to_recover", "seconds_to_catch_up", "seconds_to_p99", "latency_debt_seconds"] {
        assert_eq!(judged.unknown[figure], judged.why, "{figure}");
    }
    // When it dropped is known all the same.
    assert!(judged.seconds_to_drop.unwrap() < 0.1);
    assert!(judged.windows[30].p99_ms.is_none() && judged.windows[30].unanswered == 80);
}

#[test]
fn a_run_that_dies_later_than_its_worker_has_not_recovered_however_well_it_went_until_then() {
    // All is well for half a minute, and then nobody is there.
    let dying = |number, at| good(number, at).filter(|answer| answer.at <= 54.0);
    let course = Course { taken: 4_330, broke: Some("it gave up".into()), ..queue(KILL, KILL, dying) };
    let judged = judge(&course);
    assert_eq!((judged.verdict, judged.why.as_str()), (Verdict::NotRecovered, "the run failed: it gave up"));
    assert!(near(judged.seconds_to_drop, 30.0), "{judged:?}");
    assert_eq!((judged.seconds_to_recover, judged.seconds_to_p99), (None, None));
    // So it is where it dies with the kill, and that is too late for a curve.
    let at_once = |number, at| good(number, at).filter(|answer| answer.at <= 59.0);
    let course = Course { broke: Some("it gave up".into()), ..queue(59.0, 59.0, at_once) };
    assert_eq!((judge(&course).verdict, judge(&course).why), (judged.verdict, judged.why));
    // One that answers everything and fails then did recover, and the failure is told beside it.
    let course = Course { broke: Some("it did not close".into()), ..queue(KILL, KILL + 2.0, good) };
    assert_eq!(judge(&course).verdict, Verdict::Recovered);
}

#[test]
fn a_load_that_was_too_much_before_the_kill_says_nothing_of_it() {
    let slow = |number: usize, _| Some(Answer { at: (number + 1) as f64 / 60.0, ok: true });
    let judged = judge(&queue(KILL, KILL, slow));
    assert_eq!(judged.verdict, Verdict::Unknown, "{judged:?}");
    let why = "before the kill already, 20.0 of 80.0 arrivals a second were not answered: that is no load which it sustains";
    assert_eq!((judged.why.as_str(), judged.seconds_to_recover), (why, None));
}

#[test]
fn a_backend_that_goes_on_at_half_the_speed_has_not_recovered() {
    // Each answer after the kill takes as long as two.
    let slow =
        |_, at: f64| Some(Answer { at: if at < KILL { at } else { KILL + (at - KILL) * 2.0 }, ok: true });
    let judged = judge(&queue(KILL, KILL, slow));
    assert_eq!(judged.verdict, Verdict::NotRecovered);
    assert!(judged.why.starts_with("the backlog still grew when the last arrival came"), "{}", judged.why);
    assert_eq!((judged.lost, judged.never_taken), (0, 0));
}

#[test]
fn duplicates_lost_items_and_failures_are_counted_beside_the_recovery() {
    // What was under way at the kill is lost, and then one fails.
    let some = |number, at| match number {
        1_921..=1_925 => None,
        2_000 => Some(Answer { at, ok: false }),
        _ => good(number, at),
    };
    let course = Course { duplicated: 3, unexpected: 1, ..queue(KILL, KILL + 2.0, some) };
    let judged = judge(&course);
    assert_eq!(judged.verdict, Verdict::Recovered, "{judged:?}");
    assert_eq!((judged.lost, judged.never_taken, judged.failed), (5, 0, 1));
    assert_eq!((judged.duplicated, judged.unexpected), (3, 1));
    // Whoever is never answered does not keep the rest from being caught up.
    assert!(near(judged.seconds_to_catch_up, 10.0), "{judged:?}");
}

#[test]
fn a_kill_that_nobody_feels_is_not_felt() {
    let judged = judge(&queue(KILL, KILL, good));
    assert_eq!(judged.verdict, Verdict::NotFelt, "{judged:?}");
    assert_eq!((judged.seconds_to_recover, judged.seconds_to_p99), (Some(0.0), Some(0.0)));
    assert_eq!(
        (judged.seconds_to_drop, judged.latency_debt_seconds, judged.late),
        (None, Some(0.0), Some(0))
    );
    assert_eq!(judged.unknown["seconds_to_drop"], "the backlog never exceeded what it was before the kill");
    // One item that is lost is felt, however well all others fare.
    let but_one = |number, at| good(number, at).filter(|_| number != 1_930);
    let judged = judge(&queue(KILL, KILL, but_one));
    assert_eq!((judged.verdict, judged.lost), (Verdict::Recovered, 1));
}

#[test]
fn a_backend_that_keeps_up_and_answers_later_than_before_is_degraded() {
    let later = |_, at: f64| Some(Answer { at: if at < KILL { at } else { at + 0.02 }, ok: true });
    let judged = judge(&queue(KILL, KILL, later));
    assert_eq!(judged.verdict, Verdict::Degraded, "{judged:?}");
    assert!(judged.why.starts_with("p99 was still higher than before"), "{}", judged.why);
    assert_eq!((judged.seconds_to_recover, judged.seconds_to_p99), (Some(0.0), None));
}

#[test]
fn a_kill_in_the_last_windows_or_before_anything_is_usual_says_nothing() {
    let late = judge(&queue(58.5, 59.0, good));
    assert_eq!(late.verdict, Verdict::Unknown);
    assert!(late.why.starts_with("the last arrival was 1.49 s after the kill"), "{}", late.why);
    let early = judge(&queue(13.5, 15.0, good));
    assert_eq!((early.verdict, early.before), (Verdict::Unknown, None));
    assert!(early.why.starts_with("fewer than 3 windows of 1.00 s"), "{}", early.why);
    for judged in [late, early] {
        assert_eq!((judged.seconds_to_recover, judged.latency_debt_seconds), (None, None));
        assert_eq!(judged.unknown["seconds_to_recover"], judged.why);
        assert_eq!(judged.windows.len(), WINDOWS);
    }
}

#[test]
fn arrivals_that_crowd_and_answers_in_lumps_are_no_drop() {
    // Every half second, all at once.
    let lumps = |_, at: f64| Some(Answer { at: (at * 2.0).ceil() / 2.0, ok: true });
    let judged = judge(&queue(KILL, KILL, lumps));
    assert_eq!((judged.verdict, judged.seconds_to_drop), (Verdict::NotFelt, None), "{judged:?}");
    let judged = judge(&queue(KILL, KILL + 3.0, lumps));
    assert_eq!(judged.verdict, Verdict::Recovered, "{judged:?}");
    let outage = judged.seconds_to_drop.unwrap() + judged.seconds_to_recover.unwrap();
    assert!((3.0..=3.6).contains(&outage), "{judged:?}");
}

#[test]
fn a_run_of_nothing_is_judged_as_such() {
    let course = Course {
        arrivals: Vec::new(),
        settle: 0,
        taken: 0,
        killed_at: 0.0,
        duplicated: 0,
        unexpected: 0,
        broke: None,
    };
    assert_eq!((judge(&course).verdict, judge(&course).windows.len()), (Verdict::Unknown, 0));
}

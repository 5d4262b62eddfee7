//! CPU time that the kernel's account of a tree lacks.
//!
//! Who waits for an ended process gets its CPU time. A process that ignores `SIGCHLD` has the kernel throw
//! its ended children away instead, and their time with them: Ray's raylet does that with its workers. So
//! the clocks of such children are read while they live. What is lost then is what a child uses between the
//! last look and its end. (`SA_NOCLDWAIT` does the same as ignoring the signal, but cannot be seen from
//! outside.)
//!
//! A child that outlives such a parent is adopted by the tree's root, which does wait. Which ones those were
//! the root tells at the end.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::super::processes::{Proc, Process, Table};

/// A number that was used again is another process: hence its start beside it.
type Name = (i32, u64);

#[derive(Debug, Default)]
pub struct Unwaited {
    children: HashMap<Name, Child>,
}

#[derive(Debug, Clone, Copy)]
struct Child {
    cpu: Duration,
    /// CPU time of the children that it waited for, which is lost with it.
    waited: Duration,
    living: bool,
}

impl Unwaited {
    /// Whether there is any process to look at.
    pub fn has_living(&self) -> bool {
        self.children.values().any(|child| child.living)
    }

    /// What children used that nobody waited for, now that all have ended. The root of the tree waited for
    /// those that it `adopted`.
    pub fn lost(self, adopted: &[i32]) -> Duration {
        let adopted: HashSet<&i32> = adopted.iter().collect();
        let lost = self.children.iter().filter(|((pid, _), _)| !adopted.contains(pid));
        lost.map(|(_, child)| child.cpu + child.waited).sum()
    }

    /// Reads the clocks of the children that are known to live.
    pub fn look(&mut self, proc: &Proc) {
        for ((pid, _), child) in self.children.iter_mut().filter(|(_, child)| child.living) {
            match proc.cpu(*pid) {
                // Another reading may have been later than this one.
                Some(cpu) => child.cpu = child.cpu.max(cpu),
                None => child.living = false,
            }
        }
    }

    /// Takes every process of the tree that nobody will wait for from what was read of all, then looks.
    pub fn look_at_all(&mut self, proc: &Proc, processes: &Table, tree: &HashSet<i32>) {
        for ((pid, started), child) in &mut self.children {
            child.living &= processes.get(pid).is_none_or(|process| process.started == *started);
        }
        let mut ignores: HashMap<i32, bool> = HashMap::new();
        for (pid, process) in processes.iter().filter(|(pid, _)| tree.contains(pid)) {
            let (name, parent) = ((*pid, process.started), process.parent);
            let unwaited = tree.contains(&parent)
                && *ignores.entry(parent).or_insert_with(|| proc.ignores_children(parent));
            if unwaited {
                let child = self.children.entry(name).or_insert(Child::of(process));
                child.cpu = child.cpu.max(process.cpu);
                child.waited = child.waited.max(process.waited);
            } else {
                // An orphan has a new parent, who waits.
                self.children.remove(&name);
            }
        }
        self.look(proc);
    }
}

impl Child {
    fn of(process: &Process) -> Self {
        Self { cpu: process.cpu, waited: process.waited, living: true }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::processes::tests::{MadeUp, ms};
    use super::super::super::processes::tree;
    use super::*;

    /// Process 10 is the root; process 20 ignores its children, 21 and 22.
    fn machine() -> MadeUp {
        let made = MadeUp::new();
        made.process(10, 1, 'S', 0, 0);
        made.process(20, 10, 'S', 100, 0);
        made.ignores_children(20);
        made.process(21, 20, 'S', 1_000, 0);
        made.process(22, 20, 'S', 2_000, 500);
        made
    }

    fn look_at_all(made: &MadeUp, unwaited: &mut Unwaited) {
        let processes = made.read().processes;
        unwaited.look_at_all(&made.proc(), &processes, &tree(&processes, 10));
    }

    #[test]
    fn a_child_that_is_thrown_away_is_counted_once_and_as_it_was_last_seen() {
        let made = machine();
        let mut unwaited = Unwaited::default();
        look_at_all(&made, &mut unwaited);
        made.process(22, 20, 'S', 2_300, 500);
        unwaited.look(&made.proc());
        made.ends(22);
        unwaited.look(&made.proc());
        look_at_all(&made, &mut unwaited);
        made.ends(21);
        made.ends(20);
        assert_eq!(unwaited.lost(&[20]), ms(2_300 + 500 + 1_000));
    }

    #[test]
    fn a_child_whose_parent_waits_is_left_to_the_kernel() {
        let made = machine();
        made.process(11, 10, 'S', 700, 0);
        let mut unwaited = Unwaited::default();
        made.ends(21);
        made.ends(22);
        look_at_all(&made, &mut unwaited);
        made.ends(11);
        look_at_all(&made, &mut unwaited);
        assert_eq!(unwaited.lost(&[]), Duration::ZERO);
    }

    #[test]
    fn an_orphan_is_left_to_the_kernel() {
        let made = machine();
        let mut unwaited = Unwaited::default();
        look_at_all(&made, &mut unwaited);
        // The parent ends, and the root adopts. One of the two orphans is seen with its new parent.
        made.ends(20);
        made.ends(21);
        made.process(22, 10, 'S', 2_100, 500);
        look_at_all(&made, &mut unwaited);
        assert!(!unwaited.has_living());
        assert_eq!(unwaited.lost(&[20, 21, 22]), Duration::ZERO);
    }

    #[test]
    fn a_number_that_came_round_ends_the_old_process() {
        let made = machine();
        let mut unwaited = Unwaited::default();
        look_at_all(&made, &mut unwaited);
        let mut processes = made.read().processes;
        processes.get_mut(&21).unwrap().started += 7;
        unwaited.look_at_all(&made.proc(), &processes, &tree(&processes, 10));
        // The new one is as old as the old one, and the other one is there too.
        assert_eq!(unwaited.lost(&[]), ms(1_000 + 1_000 + 2_500));
    }
}

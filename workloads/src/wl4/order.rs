//! Puts a sequence that arrives in any order back in order.

use std::collections::BTreeMap;

/// Holds items until all their predecessors have come.
#[derive(Debug)]
pub struct InOrder<T> {
    next: u64,
    early: BTreeMap<u64, T>,
}

impl<T> Default for InOrder<T> {
    fn default() -> Self {
        Self { next: 0, early: BTreeMap::new() }
    }
}

impl<T> InOrder<T> {
    /// Takes item number `seq`. One that was seen before is dropped: retries repeat.
    pub fn take(&mut self, seq: u64, item: T) {
        if seq >= self.next {
            self.early.entry(seq).or_insert(item);
        }
    }

    /// The next item in order, if it has come.
    pub fn pop(&mut self) -> Option<T> {
        let item = self.early.remove(&self.next)?;
        self.next += 1;
        Some(item)
    }

    /// At the end of the stream: what is left, in order, gaps skipped.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        std::mem::take(&mut self.early).into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_in_order_and_once() {
        let mut order = InOrder::default();
        let mut out = Vec::new();
        for seq in [2, 0, 0, 1, 1, 4, 3] {
            order.take(seq, seq);
            while let Some(item) = order.pop() {
                out.push(item);
            }
        }
        assert_eq!(out, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_gap_holds_its_successors_until_the_end() {
        let mut order = InOrder::default();
        order.take(1, 'b');
        order.take(3, 'd');
        assert_eq!(order.pop(), None);
        assert_eq!(order.drain().collect::<Vec<_>>(), ['b', 'd']);
    }
}

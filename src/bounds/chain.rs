//! The order of the entries of a map, or of one holder in it: a doubly linked list whose links are kept in the entries themselves, so that
//! an entry joins and leaves without a search and without memory of its own. For [`BoundedMap`](super::BoundedMap).

use slab::Slab;

/// The neighbours of an entry in one chain: positions in the slab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Links {
    older: Option<usize>,
    newer: Option<usize>,
}

/// Which links of an entry belong to a chain.
pub(super) type Of<E> = fn(&mut E) -> &mut Links;

/// The two ends of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    oldest: Option<usize>,
    newest: Option<usize>,
}

impl Chain {
    pub(super) const fn oldest(&self) -> Option<usize> {
        self.oldest
    }

    /// Appends an entry as the newest.
    pub(super) fn push<E>(&mut self, entries: &mut Slab<E>, of: Of<E>, position: usize) {
        let links = Links { older: self.newest.replace(position), newer: None };
        match links.older.and_then(|older| entries.get_mut(older)) {
            Some(older) => of(older).newer = Some(position),
            None => self.oldest = Some(position),
        }
        if let Some(entry) = entries.get_mut(position) {
            *of(entry) = links;
        }
    }

    /// Joins the neighbours of an entry that had these links.
    pub(super) fn unlink<E>(&mut self, entries: &mut Slab<E>, of: Of<E>, links: Links) {
        match links.older.and_then(|older| entries.get_mut(older)) {
            Some(older) => of(older).newer = links.newer,
            None => self.oldest = links.newer,
        }
        match links.newer.and_then(|newer| entries.get_mut(newer)) {
            Some(newer) => of(newer).older = links.older,
            None => self.newest = links.older,
        }
    }

    /// The positions, the oldest first. `links` tells the links of the entry at a position.
    pub(super) fn walk(&self, links: impl Fn(usize) -> Option<Links>) -> impl Iterator<Item = usize> {
        std::iter::successors(self.oldest, move |position| links(*position)?.newer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(chain: &Chain, entries: &Slab<Links>) -> Vec<usize> {
        chain.walk(|position| entries.get(position).copied()).collect()
    }

    #[test]
    fn entries_join_as_the_newest_and_leave_from_anywhere() {
        let of: Of<Links> = |links| links;
        let (mut chain, mut entries) = (Chain::default(), Slab::new());
        for expected in 0..4 {
            let position = entries.insert(Links::default());
            chain.push(&mut entries, of, position);
            assert_eq!((position, chain.oldest()), (expected, Some(0)));
        }
        assert_eq!(order(&chain, &entries), [0, 1, 2, 3]);
        for (gone, left) in [(2, vec![0, 1, 3]), (0, vec![1, 3]), (3, vec![1])] {
            let links = entries.remove(gone);
            chain.unlink(&mut entries, of, links);
            assert_eq!(order(&chain, &entries), left);
        }
        let position = entries.insert(Links::default());
        chain.push(&mut entries, of, position);
        assert_eq!(order(&chain, &entries), [1, position]);
        for gone in [position, 1] {
            let links = entries.remove(gone);
            chain.unlink(&mut entries, of, links);
        }
        assert_eq!(chain, Chain::default());
    }
}

//! Whole networks by description: [`Lab::build`](crate::Lab::build).

use std::{fmt, str::FromStr};

use crate::{Lab, LabError, Link, Node};

/// The shape of a network.
///
/// Parsed from and shown as `line:4`, `ring:5`, `star:6`, `lan:3`, `grid:3x2`, `tree:2x3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Topology {
    /// This many nodes, each linked to the next.
    Line(u16),
    /// A line whose ends are linked too; at least three nodes.
    Ring(u16),
    /// This many nodes, all linked to the first and to nothing else.
    Star(u16),
    /// This many nodes on one shared segment.
    Lan(u16),
    /// Width times height nodes, each linked to its right and lower neighbour; row by row.
    Grid(u16, u16),
    /// A root, and below every node but the leaves this many branches, for this many levels below the root.
    Tree {
        /// Links downward of a node.
        branches: u16,
        /// Levels below the root.
        depth: u16,
    },
}

/// A network built by [`Lab::build`](crate::Lab::build).
#[derive(Clone, Debug)]
pub struct Network {
    /// The nodes, named `n1`, `n2`…
    pub nodes: Vec<Node>,
    /// The links, in the order described at [`Topology`].
    pub links: Vec<Link>,
}

/// More is a mistake on one machine.
const MOST: usize = 4096;

impl Topology {
    /// How many nodes there are, and which of them (counted from 0) are joined by each link.
    ///
    /// # Errors
    ///
    /// [`LabError::Unknown`] when there is no such network: no node, a ring of two, more than 4096 nodes.
    pub fn plan(&self) -> Result<(usize, Vec<Vec<usize>>), LabError> {
        let pair = |a: usize, b: usize| vec![a, b];
        let (nodes, links) = match *self {
            Self::Line(n) => (usize::from(n), (1..n.into()).map(|i| pair(i - 1, i)).collect()),
            Self::Ring(0..=2) => (0, Vec::new()),
            Self::Ring(n) => {
                let n = usize::from(n);
                (n, (0..n).map(|i| pair(i, (i + 1) % n)).collect())
            }
            Self::Star(n) => (usize::from(n), (1..n.into()).map(|i| pair(0, i)).collect()),
            Self::Lan(n) => (usize::from(n), vec![(0..n.into()).collect()]),
            Self::Grid(width, height) => {
                let (width, height) = (usize::from(width), usize::from(height));
                let right = |i: usize| (!(i + 1).is_multiple_of(width)).then(|| pair(i, i + 1));
                let lower = |i: usize| (i + width < width * height).then(|| pair(i, i + width));
                let count = width * height;
                let all = (0..count.min(MOST + 1)).flat_map(|i| [right(i), lower(i)]).flatten().collect();
                (count, all)
            }
            Self::Tree { branches, depth } => {
                let mut level: usize = 1;
                let mut count: usize = 1;
                for _ in 0..depth {
                    level = level.saturating_mul(branches.into());
                    count = count.saturating_add(level);
                    if count > MOST {
                        break;
                    }
                }
                let all =
                    (1..count.min(MOST + 1)).map(|i| pair((i - 1) / usize::from(branches), i)).collect();
                (count, all)
            }
        };
        if nodes == 0 || nodes > MOST {
            return Err(LabError::Unknown(format!(
                "{self} is no network to build: 1 to {MOST} nodes, a ring 3"
            )));
        }
        Ok((nodes, links))
    }
}

impl Lab {
    /// Builds a network in this lab, with all routes. Its nodes are named `n1`, `n2`…
    ///
    /// # Errors
    ///
    /// As [`Topology::plan`], [`Lab::link`] and [`Lab::route_all`].
    pub fn build(&self, topology: Topology) -> Result<Network, LabError> {
        let (count, plan) = topology.plan()?;
        let nodes = (1..=count).map(|i| self.node(&format!("n{i}"))).collect::<Result<Vec<_>, _>>()?;
        let links = plan
            .iter()
            .map(|ends| self.lan(&ends.iter().map(|&end| &nodes[end]).collect::<Vec<_>>()))
            .collect::<Result<Vec<_>, _>>()?;
        self.route_all()?;
        Ok(Network { nodes, links })
    }
}

impl FromStr for Topology {
    type Err = LabError;

    fn from_str(text: &str) -> Result<Self, LabError> {
        let unknown = || {
            LabError::Unknown(format!(
                "\"{text}\" is none of line:N ring:N star:N lan:N grid:WxH tree:BRANCHESxDEPTH"
            ))
        };
        let (shape, size) = text.split_once(':').ok_or_else(unknown)?;
        let number = |digits: &str| digits.parse::<u16>().map_err(|_| unknown());
        let both = || {
            let (first, second) = size.split_once('x').ok_or_else(unknown)?;
            Ok::<_, LabError>((number(first)?, number(second)?))
        };
        match shape {
            "line" => Ok(Self::Line(number(size)?)),
            "ring" => Ok(Self::Ring(number(size)?)),
            "star" => Ok(Self::Star(number(size)?)),
            "lan" => Ok(Self::Lan(number(size)?)),
            "grid" => both().map(|(width, height)| Self::Grid(width, height)),
            "tree" => both().map(|(branches, depth)| Self::Tree { branches, depth }),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(n) => write!(f, "line:{n}"),
            Self::Ring(n) => write!(f, "ring:{n}"),
            Self::Star(n) => write!(f, "star:{n}"),
            Self::Lan(n) => write!(f, "lan:{n}"),
            Self::Grid(width, height) => write!(f, "grid:{width}x{height}"),
            Self::Tree { branches, depth } => write!(f, "tree:{branches}x{depth}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_have_the_links_they_should() {
        let counts =
            |text: &str| text.parse::<Topology>().unwrap().plan().map(|(n, links)| (n, links.len())).unwrap();
        assert_eq!(counts("line:4"), (4, 3));
        assert_eq!(counts("line:1"), (1, 0));
        assert_eq!(counts("ring:5"), (5, 5));
        assert_eq!(counts("star:6"), (6, 5));
        assert_eq!(counts("lan:3"), (3, 1));
        assert_eq!(counts("grid:3x2"), (6, 7));
        assert_eq!(counts("tree:2x3"), (15, 14));
        assert_eq!(Topology::Tree { branches: 2, depth: 1 }.plan().unwrap().1, [[0, 1], [0, 2]]);
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in ["", "ring", "ring:", "ring:x", "ring:-1", "grid:3", "grid:3x", "mesh:3", "line:65536"] {
            assert!(text.parse::<Topology>().is_err(), "{text}");
        }
        for text in ["line:0", "ring:2", "grid:0x5", "grid:65535x65535", "tree:65535x65535"] {
            assert!(text.parse::<Topology>().unwrap().plan().is_err(), "{text}");
        }
        assert_eq!("tree:0x3".parse::<Topology>().unwrap().plan().unwrap(), (1, vec![]));
    }

    #[test]
    fn shown_as_parsed() {
        for text in ["line:4", "ring:5", "star:6", "lan:3", "grid:3x2", "tree:2x3"] {
            assert_eq!(text.parse::<Topology>().unwrap().to_string(), text);
        }
    }
}

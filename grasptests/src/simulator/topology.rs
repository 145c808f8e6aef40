//! Networks to simulate: nodes on segments. A point-to-point link is a segment with two members.

use std::collections::{BTreeSet, VecDeque};

use super::random::Random;

/// The mean number of links of a node in a random network.
const MEAN_DEGREE: f64 = 6.0;
/// How many links a new node of a scale-free network brings.
const NEW_LINKS: usize = 2;
/// How many hosts are on a segment of a campus.
const HOSTS: usize = 20;

/// The shapes of networks that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// Any two nodes are linked with the same probability, so that a node has 6 links in the mean; what is not
    /// connected then is joined by a link.
    Random,
    /// A square lattice; a node has at most 4 links.
    Grid,
    /// Barabási and Albert's: each new node links to 2 others, rather to those that have many links.
    ScaleFree,
    /// Each node is linked to the next.
    Line,
    /// A line whose ends are linked.
    Ring,
    /// Shared segments of 20 hosts, each with two routers that are also on one backbone segment.
    Campus,
}

impl Shape {
    /// Its name, as on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Grid => "grid",
            Self::ScaleFree => "scale-free",
            Self::Line => "line",
            Self::Ring => "ring",
            Self::Campus => "campus",
        }
    }

    /// A network of this shape. The random ones depend on the generator.
    #[must_use]
    pub fn build(self, nodes: usize, random: &mut Random) -> Topology {
        let links: Vec<(usize, usize)> = match self {
            Self::Random => random_links(nodes, random),
            Self::Grid => grid_links(nodes),
            Self::ScaleFree => scale_free_links(nodes, random),
            Self::Line => line_links(nodes),
            Self::Ring if nodes < 3 => line_links(nodes),
            Self::Ring => line_links(nodes).into_iter().chain([(nodes - 1, 0)]).collect(),
            Self::Campus => return Topology { nodes, segments: campus_segments(nodes) },
        };
        Topology { nodes, segments: links.into_iter().map(|(a, b)| vec![a, b]).collect() }
    }
}

/// Nodes, by number, on segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// How many nodes there are.
    pub nodes: usize,
    /// The members of each segment.
    pub segments: Vec<Vec<usize>>,
}

impl Topology {
    /// The nodes one hop from each node.
    #[must_use]
    pub fn neighbours(&self) -> Neighbours {
        let mut first = vec![0; self.nodes + 1];
        for segment in &self.segments {
            segment.iter().for_each(|member| first[member + 1] += segment.len() - 1);
        }
        (0..self.nodes).for_each(|node| first[node + 1] += first[node]);
        let (mut next, mut all) = (first.clone(), vec![0; first[self.nodes]]);
        for segment in &self.segments {
            for member in segment {
                for other in segment.iter().filter(|other| *other != member) {
                    all[next[*member]] = *other;
                    next[*member] += 1;
                }
            }
        }
        Neighbours { first, all }
    }

    /// Hops from a node to each; `None` where there is no way.
    #[must_use]
    pub fn distances(&self, from: usize) -> Vec<Option<usize>> {
        self.neighbours().distances(from)
    }

    /// The longest of the shortest ways between two nodes.
    #[must_use]
    pub fn diameter(&self) -> Diameter {
        self.neighbours().diameter()
    }
}

/// The nodes one hop from each node, for searches.
#[derive(Clone, Debug)]
pub struct Neighbours {
    /// Where in `all` those of a node begin, and last where they end.
    first: Vec<usize>,
    all: Vec<usize>,
}

/// The longest of the shortest ways between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diameter {
    /// In hops.
    pub hops: usize,
    /// Whether no way is longer; otherwise none longer was found.
    pub exact: bool,
}

/// How many searches the diameter of a large network may take.
const SEARCHES: usize = 300;

impl Neighbours {
    /// Those of one node.
    #[must_use]
    pub fn of(&self, node: usize) -> &[usize] {
        &self.all[self.first[node]..self.first[node + 1]]
    }

    /// Hops from a node to each; `None` where there is no way.
    #[must_use]
    pub fn distances(&self, from: usize) -> Vec<Option<usize>> {
        let mut found = vec![None; self.first.len() - 1];
        found[from] = Some(0);
        let mut queue = VecDeque::from([(from, 0)]);
        while let Some((node, hops)) = queue.pop_front() {
            for &next in self.of(node) {
                if found[next].is_none() {
                    found[next] = Some(hops + 1);
                    queue.push_back((next, hops + 1));
                }
            }
        }
        found
    }

    /// Searches from nodes that may be at the edge, and in between from some that are in the middle: what is `d` hops from
    /// a node whose farthest is `e` hops away has nothing farther away than `d + e` (Takes and Kosters 2011). So few
    /// searches are needed, except where all nodes are alike.
    fn diameter(&self) -> Diameter {
        let nodes = self.first.len() - 1;
        let mut bounds = vec![(0, usize::MAX); nodes];
        let mut candidates: Vec<usize> = (0..nodes).collect();
        let mut hops = 0;
        for search in 0..SEARCHES {
            let degree = |node: &usize| self.of(*node).len();
            let edge = |node: &&usize| (bounds[**node].1, degree(node));
            let middle = |node: &&usize| (usize::MAX - bounds[**node].0, degree(node));
            let from = candidates.iter();
            let from = if search % 2 == 0 { from.max_by_key(edge) } else { from.max_by_key(middle) };
            let Some(&from) = from else { return Diameter { hops, exact: true } };
            let distances = self.distances(from);
            let farthest = distances.iter().flatten().copied().max().unwrap_or(0);
            hops = hops.max(farthest);
            bounds[from] = (farthest, farthest);
            for node in &candidates {
                if let Some(distance) = distances[*node] {
                    let (low, high) = &mut bounds[*node];
                    *low = (*low).max(distance).max(farthest - distance);
                    *high = (*high).min(farthest + distance);
                }
            }
            candidates.retain(|node| *node != from && bounds[*node].1 > hops);
        }
        Diameter { hops, exact: candidates.is_empty() }
    }
}

fn line_links(nodes: usize) -> Vec<(usize, usize)> {
    (1..nodes).map(|node| (node - 1, node)).collect()
}

/// As wide as high, as far as the number of nodes allows; the last row may be shorter.
fn grid_links(nodes: usize) -> Vec<(usize, usize)> {
    let width = (1..=nodes).find(|width| width * width >= nodes).unwrap_or(1);
    let right = (1..nodes).filter(|node| node % width != 0).map(|node| (node - 1, node));
    let down = (width..nodes).map(|node| (node - width, node));
    right.chain(down).collect()
}

fn random_links(nodes: usize, random: &mut Random) -> Vec<(usize, usize)> {
    let probability = MEAN_DEGREE / (nodes.max(2) - 1) as f64;
    let mut links: Vec<_> =
        (0..nodes).flat_map(|a| (0..a).map(move |b| (b, a))).filter(|_| random.chance(probability)).collect();
    // What has no way to node 0 gets one.
    let mut groups = Groups::of(nodes);
    links.iter().for_each(|(a, b)| groups.join(*a, *b));
    for lost in 0..nodes {
        if groups.root(lost) != groups.root(0) {
            let reached: Vec<_> = (0..nodes).filter(|node| groups.root(*node) == groups.root(0)).collect();
            let to = reached[random.below(reached.len())];
            links.push((to, lost));
            groups.join(to, lost);
        }
    }
    links
}

/// Nodes in groups that have a way to each other, each with a node that leads to the group's root.
struct Groups(Vec<usize>);

impl Groups {
    fn of(nodes: usize) -> Self {
        Self((0..nodes).collect())
    }

    fn root(&mut self, mut node: usize) -> usize {
        while self.0[node] != node {
            self.0[node] = self.0[self.0[node]];
            node = self.0[node];
        }
        node
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }
}

fn scale_free_links(nodes: usize, random: &mut Random) -> Vec<(usize, usize)> {
    let seed = (NEW_LINKS + 1).min(nodes);
    let mut links: Vec<(usize, usize)> = (0..seed).flat_map(|a| (0..a).map(move |b| (b, a))).collect();
    for node in seed..nodes {
        // Each link has two ends, so a node is drawn as often as it has links.
        let mut chosen = BTreeSet::new();
        while chosen.len() < NEW_LINKS {
            let (a, b) = links[random.below(links.len())];
            chosen.insert(if random.chance(0.5) { a } else { b });
        }
        links.extend(chosen.into_iter().map(|other| (other, node)));
    }
    links
}

fn campus_segments(nodes: usize) -> Vec<Vec<usize>> {
    let everyone: Vec<_> = (0..nodes).collect();
    let segments: Vec<Vec<usize>> = everyone.chunks(HOSTS + 2).map(<[usize]>::to_vec).collect();
    let routers = segments.iter().flat_map(|segment| segment.iter().take(2).copied()).collect();
    std::iter::once(routers).chain(segments).filter(|segment: &Vec<_>| segment.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Shape; 6] =
        [Shape::Random, Shape::Grid, Shape::ScaleFree, Shape::Line, Shape::Ring, Shape::Campus];

    #[test]
    fn every_shape_is_connected_and_no_two_nodes_share_two_links() {
        for shape in ALL {
            for nodes in [1, 2, 3, 10, 100] {
                let topology = shape.build(nodes, &mut Random::new(3));
                assert!(topology.distances(0).iter().all(Option::is_some), "{shape:?} {nodes}");
                if shape != Shape::Campus {
                    let links: BTreeSet<_> =
                        topology.segments.iter().map(|s| (s[0].min(s[1]), s[0].max(s[1]))).collect();
                    assert_eq!(links.len(), topology.segments.len(), "{shape:?} {nodes}");
                }
            }
        }
    }

    #[test]
    fn diameters_are_what_the_shapes_promise() {
        let diameter = |shape: Shape, nodes| {
            let diameter = shape.build(nodes, &mut Random::new(3)).diameter();
            assert!(diameter.exact, "{shape:?}");
            diameter.hops
        };
        assert_eq!(diameter(Shape::Line, 10), 9);
        assert_eq!(diameter(Shape::Ring, 10), 5);
        assert_eq!(diameter(Shape::Grid, 100), 18);
        assert_eq!(diameter(Shape::Campus, 100), 3);
        assert!((3..20).contains(&diameter(Shape::Random, 100)));
        assert!((3..10).contains(&diameter(Shape::ScaleFree, 100)));
    }

    #[test]
    fn bounds_find_the_diameter_that_all_searches_find() {
        for (seed, shape) in ALL.into_iter().cycle().take(60).enumerate() {
            let nodes = 2 + 7 * seed;
            let topology = shape.build(nodes, &mut Random::new(seed as u64));
            let neighbours = topology.neighbours();
            let all =
                (0..nodes).filter_map(|from| neighbours.distances(from).into_iter().flatten().max()).max();
            assert_eq!(Some(topology.diameter().hops), all, "{shape:?} of {nodes}");
        }
    }
}

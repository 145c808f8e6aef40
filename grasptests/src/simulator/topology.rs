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
    pub fn neighbours(&self) -> Vec<Vec<usize>> {
        let mut neighbours = vec![Vec::new(); self.nodes];
        for segment in &self.segments {
            for member in segment {
                neighbours[*member].extend(segment.iter().copied().filter(|other| other != member));
            }
        }
        neighbours
    }

    /// Hops from a node to each; `None` where there is no way.
    #[must_use]
    pub fn distances(&self, from: usize) -> Vec<Option<usize>> {
        distances(&self.neighbours(), from)
    }

    /// The longest of the shortest ways between two nodes.
    #[must_use]
    pub fn diameter(&self) -> usize {
        let neighbours = self.neighbours();
        (0..self.nodes)
            .filter_map(|from| distances(&neighbours, from).into_iter().flatten().max())
            .max()
            .unwrap_or(0)
    }
}

fn distances(neighbours: &[Vec<usize>], from: usize) -> Vec<Option<usize>> {
    let mut found = vec![None; neighbours.len()];
    found[from] = Some(0);
    let mut queue = VecDeque::from([(from, 0)]);
    while let Some((node, hops)) = queue.pop_front() {
        for &next in &neighbours[node] {
            if found[next].is_none() {
                found[next] = Some(hops + 1);
                queue.push_back((next, hops + 1));
            }
        }
    }
    found
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
    let mut topology = Topology { nodes, segments: links.iter().map(|(a, b)| vec![*a, *b]).collect() };
    while let Some(lost) = topology.distances(0).iter().position(Option::is_none) {
        let reached: Vec<_> = topology
            .distances(0)
            .iter()
            .enumerate()
            .filter(|(_, hops)| hops.is_some())
            .map(|(n, _)| n)
            .collect();
        let to = reached[random.below(reached.len())];
        links.push((to, lost));
        topology.segments.push(vec![to, lost]);
    }
    links
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
        let diameter = |shape: Shape, nodes| shape.build(nodes, &mut Random::new(3)).diameter();
        assert_eq!(diameter(Shape::Line, 10), 9);
        assert_eq!(diameter(Shape::Ring, 10), 5);
        assert_eq!(diameter(Shape::Grid, 100), 18);
        assert_eq!(diameter(Shape::Campus, 100), 3);
        assert!((3..20).contains(&diameter(Shape::Random, 100)));
        assert!((3..10).contains(&diameter(Shape::ScaleFree, 100)));
    }
}

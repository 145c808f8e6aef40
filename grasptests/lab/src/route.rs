//! Static routes along shortest paths: [`Lab::route_all`](crate::Lab::route_all).

use std::collections::{BTreeMap, VecDeque};

use crate::{Lab, LabError, Link, Node, netlink::StaticRoute};

/// A way out of a node: over which link, and to whom.
struct Hop {
    to: u16,
    link: usize,
}

impl Lab {
    /// Makes every node a router, and gives it a route to the prefix of every link it can reach, over the
    /// fewest links. Links (and their ends) that are cut or unplugged are not used. To be called again after
    /// a change: old routes go.
    ///
    /// # Errors
    ///
    /// [`LabError::Kernel`] when the kernel refuses, or `/proc/sys` is read-only.
    pub fn route_all(&self) -> Result<(), LabError> {
        let (nodes, links) = (self.nodes(), self.links());
        let connected: Vec<Vec<(Node, String)>> = links.iter().map(Link::connected).collect();
        let mut hops: BTreeMap<u16, Vec<Hop>> = BTreeMap::new();
        for (link, members) in connected.iter().enumerate() {
            for (from, _) in members {
                for (to, _) in members.iter().filter(|(to, _)| to != from) {
                    hops.entry(from.number()).or_default().push(Hop { to: to.number(), link });
                }
            }
        }
        for node in &nodes {
            node.forward()?;
            node.set_routes(routes_of(node, &links, &connected, &hops)?)?;
        }
        Ok(())
    }
}

fn routes_of(
    node: &Node,
    links: &[Link],
    connected: &[Vec<(Node, String)>],
    hops: &BTreeMap<u16, Vec<Hop>>,
) -> Result<Vec<StaticRoute>, LabError> {
    let first = first_hops(node.number(), hops);
    let mut routes = Vec::new();
    for (link, members) in links.iter().zip(connected) {
        let Some(prefix) = link.prefix() else { continue };
        if members.iter().any(|(member, _)| member == node) {
            // The kernel has made that route with the address.
            continue;
        }
        // Through the nearest of the nodes on that link.
        let nearest =
            members.iter().filter_map(|(member, _)| first.get(&member.number())).min_by_key(|way| way.0);
        let Some(&(_, hop)) = nearest else { continue };
        let Some((neighbour, _)) = connected[hop.link].iter().find(|(member, _)| member.number() == hop.to)
        else {
            continue;
        };
        let interface = node.interface_index(&links[hop.link].interface(node)?)?;
        routes.push(StaticRoute {
            prefix: (prefix, 64),
            via: links[hop.link].link_local(neighbour),
            interface,
        });
    }
    Ok(routes)
}

/// For every node that can be reached: how far it is, and the first hop on the way (breadth first).
fn first_hops(start: u16, hops: &BTreeMap<u16, Vec<Hop>>) -> BTreeMap<u16, (usize, &Hop)> {
    let mut found: BTreeMap<u16, (usize, &Hop)> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(at) = queue.pop_front() {
        let so_far = found.get(&at).copied();
        for hop in hops.get(&at).into_iter().flatten() {
            if hop.to == start || found.contains_key(&hop.to) {
                continue;
            }
            let (distance, first) = so_far.map_or((1, hop), |(distance, first)| (distance + 1, first));
            found.insert(hop.to, (distance, first));
            queue.push_back(hop.to);
        }
    }
    found
}

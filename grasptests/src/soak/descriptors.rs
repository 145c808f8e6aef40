//! What the descriptors of this process are, for a rest at which there are more than before.

use std::collections::{BTreeMap, HashMap};
use std::fs;

use crate::lab::Node;

/// The tables of a network namespace, and in which column an inode is.
const TABLES: [(&str, usize); 4] = [("tcp6", 9), ("tcp", 9), ("udp6", 9), ("netlink", 9)];

/// One line per kind: for a socket its node, table, addresses and state, as the system has them in hexadecimal.
pub(super) fn kinds(nodes: &[Node]) -> Vec<String> {
    let mut sockets = HashMap::new();
    for node in nodes {
        for (table, column) in TABLES {
            let path = format!("/proc/thread-self/net/{table}");
            let text = node.run(|| fs::read_to_string(path)).unwrap_or_default();
            for line in text.lines().skip(1) {
                let fields: Vec<_> = line.split_whitespace().collect();
                let Some(inode) = fields.get(column) else { continue };
                let shown = match (table, &fields[..]) {
                    ("netlink", _) => String::new(),
                    (_, [_, local, peer, state, ..]) => format!(" {local} {peer} state {state}"),
                    _ => continue,
                };
                sockets.insert((*inode).to_owned(), format!("{} {table}{shown}", node.name()));
            }
        }
    }
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = target.to_string_lossy();
        let inode = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'));
        let kind = inode.map(|inode| sockets.get(inode).cloned().unwrap_or_else(|| "socket".to_owned()));
        *kinds.entry(kind.unwrap_or_else(|| target.into_owned())).or_default() += 1;
    }
    kinds.into_iter().map(|(kind, count)| format!("{count} {kind}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolated;
    use crate::lab::{Lab, Topology};

    #[test]
    fn a_socket_of_a_node_is_named() {
        isolated!();
        let lab = Lab::new().unwrap();
        let nodes = lab.build(Topology::Line(2)).unwrap().nodes;
        let listener = nodes[1].run(|| std::net::TcpListener::bind("[::]:7777")).unwrap();
        let kinds = kinds(&nodes);
        let named = format!("1 {} tcp6 {}:1E61 ", nodes[1].name(), "0".repeat(32));
        assert!(kinds.iter().any(|kind| kind.starts_with(&named)), "{kinds:#?}");
        drop(listener);
    }
}

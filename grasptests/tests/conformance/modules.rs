//! The graph of the engine's modules, read by a parser of Rust: which module of the crate's root names which other. It has
//! no circle, and no arrow that a layer must not have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemUse, Macro, UseTree};

use crate::borders::root;

/// The modules of the root, each with those that it names.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// What a module must not name, though there would be no circle: the layers of docs/architecture.md.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("cbor", &["wire", "types", "node", "registry", "net", "threads", "api", "core", "engine", "config"]),
    ("types", &["wire", "node", "registry", "net", "threads", "api", "core", "engine", "config"]),
    ("wire", &["node", "registry", "net", "threads", "api", "core", "engine", "config", "acp"]),
    ("bounds", &["node", "registry", "net", "threads", "api", "core", "engine"]),
    ("registry", &["node", "net", "threads", "api", "core", "engine"]),
    ("node", &["net", "threads", "api", "core", "engine", "acp", "workers", "clock"]),
    ("acp", &["config", "node", "registry", "net", "threads", "api", "core", "engine"]),
    (
        "domain",
        &[
            "acp", "api", "cbor", "config", "core", "engine", "ipc", "net", "node", "registry", "threads",
            "types", "wire",
        ],
    ),
    (
        "tls",
        &[
            "acp", "api", "cbor", "config", "core", "engine", "net", "node", "registry", "threads", "types",
            "wire",
        ],
    ),
    ("config", &["node", "registry", "net", "threads", "api", "core", "engine"]),
    ("net", &["node", "threads", "api", "core", "engine", "workers"]),
    ("workers", &["threads", "api", "core", "engine"]),
    ("core", &["threads", "api", "engine", "ipc"]),
    ("threads", &["api", "engine", "ipc"]),
    ("ipc", &["api", "engine", "node"]),
    ("simulation", &["threads", "api", "core", "engine", "ipc"]),
];

/// Collects the modules of the root that one file names.
struct Names<'a> {
    /// The path of the file's own module.
    own: Vec<String>,
    roots: &'a BTreeSet<String>,
    found: BTreeSet<String>,
}

impl Names<'_> {
    /// Takes a path, as far as it is known. `crate`, or as many `super` as lead there, is the root.
    fn take(&mut self, segments: &[String]) {
        let mut at = self.own.clone();
        let mut rest = segments;
        loop {
            match rest {
                [first, tail @ ..] if first == "crate" => (at, rest) = (Vec::new(), tail),
                [first, tail @ ..] if first == "super" => {
                    at.pop();
                    rest = tail;
                }
                [first, tail @ ..] if first == "self" => rest = tail,
                _ => break,
            }
        }
        if rest.len() < segments.len()
            && at.is_empty()
            && let Some(name) = rest.first().filter(|name| self.roots.contains(*name))
        {
            self.found.insert(name.clone());
        }
    }

    fn tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.tree(&with(path.ident.to_string()), &path.tree),
            UseTree::Name(name) => self.take(&with(name.ident.to_string())),
            UseTree::Rename(name) => self.take(&with(name.ident.to_string())),
            UseTree::Glob(_) => self.take(before),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(before, tree)),
        }
    }

    /// What a macro is given is no path yet: every run of names between `::` is taken for one.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Vec::new();
        for token in tokens {
            match token {
                TokenTree::Ident(name) => path.push(name.to_string()),
                TokenTree::Punct(mark) if mark.as_char() == ':' => continue,
                TokenTree::Group(group) => {
                    self.take(&std::mem::take(&mut path));
                    self.tokens(group.stream());
                }
                _ => self.take(&std::mem::take(&mut path)),
            }
        }
        self.take(&path);
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|what| what.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.take(&segments);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, given: &'ast Macro) {
        self.tokens(given.tokens.clone());
    }
}

/// What one file, which is this module, names; and the modules that it declares, but for those of tests.
fn read(text: &str, own: &[String], roots: &BTreeSet<String>) -> (BTreeSet<String>, Vec<String>) {
    let file = syn::parse_file(text).expect("a file of Rust");
    let mut names = Names { own: own.to_vec(), roots, found: BTreeSet::new() };
    names.visit_file(&file);
    let declared = file.items.iter().filter_map(|item| match item {
        Item::Mod(item) if item.content.is_none() && !is_for_tests(&item.attrs) => {
            Some(item.ident.to_string())
        }
        _ => None,
    });
    (names.found, declared.collect())
}

/// Follows a module and everything below it.
fn follow(source: &Path, own: &[String], roots: &BTreeSet<String>) -> BTreeSet<String> {
    let plain = source.join(own.join("/")).with_extension("rs");
    let path = if plain.exists() { plain } else { source.join(own.join("/")).join("mod.rs") };
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut found, declared) = read(&text, own, roots);
    for child in declared {
        found.extend(follow(source, &[own, &[child]].concat(), roots));
    }
    found
}

fn graph() -> Graph {
    let source = root().join("src");
    let text = fs::read_to_string(source.join("lib.rs")).expect("the root");
    let (_, declared) = read(&text, &[], &BTreeSet::new());
    let roots: BTreeSet<_> = declared.into_iter().collect();
    let mut graph = Graph::new();
    for name in &roots {
        let mut named = follow(&source, std::slice::from_ref(name), &roots);
        named.remove(name);
        graph.insert(name.clone(), named);
    }
    graph
}

/// The modules that lead back to themselves, with the shortest way.
fn circles(graph: &Graph) -> Vec<String> {
    let mut found = Vec::new();
    for start in graph.keys() {
        let mut ways = vec![vec![start.clone()]];
        let mut seen = BTreeSet::new();
        while let Some(way) = (!ways.is_empty()).then(|| ways.remove(0)) {
            for next in &graph[way.last().expect("it begins somewhere")] {
                if next == start {
                    found.push(format!("{} -> {start}", way.join(" -> ")));
                    ways.clear();
                    break;
                }
                if seen.insert(next.clone()) {
                    ways.push([way.as_slice(), std::slice::from_ref(next)].concat());
                }
            }
        }
    }
    found
}

fn forbidden(graph: &Graph) -> Vec<String> {
    let arrows = FORBIDDEN.iter().flat_map(|(from, to)| to.iter().map(move |to| (*from, *to)));
    let drawn = arrows.filter(|(from, to)| graph.get(*from).is_some_and(|named| named.contains(*to)));
    drawn.map(|(from, to)| format!("{from} -> {to}")).collect()
}

#[test]
fn the_modules_of_the_engine_have_no_circle_and_no_forbidden_arrow() {
    let graph = graph();
    assert!(graph.len() > 15 && graph["threads"].contains("core"), "{graph:#?}");
    assert_eq!(circles(&graph), Vec::<String>::new());
    assert_eq!(forbidden(&graph), Vec::<String>::new());
    for (from, to) in FORBIDDEN {
        let unknown = std::iter::once(from).chain(*to).find(|name| !graph.contains_key(**name));
        assert_eq!(unknown, None, "there is no such module");
    }
}

#[test]
fn the_reader_sees_every_way_to_name_a_module() {
    let roots: BTreeSet<_> = ["a", "b", "c"].map(str::to_owned).into();
    let named = |text: &str| {
        let own = ["a".to_owned(), "inner".to_owned()];
        read(text, &own, &roots).0.into_iter().collect::<Vec<_>>().join(" ")
    };
    for (text, expected) in [
        ("use crate::b::X;", "b"),
        ("use crate::{b::{self, Y}, c};", "b c"),
        ("use super::super::c::Z as W;", "c"),
        ("use crate::b::*;", "b"),
        ("use super::b::X;", ""),
        ("use b::X;", ""),
        ("fn f(x: crate::b::X) -> Vec<crate::c::Y> { x }", "b c"),
        ("fn f() { crate::b::go::<crate::c::Y>(); }", "b c"),
        ("fn f() { println!(\"{}\", crate::b::go(1)); }", "b"),
        ("#[cfg(test)] mod tests { use crate::b::X; }", ""),
        ("#[cfg(feature = \"x\")] use crate::b::X;", "b"),
        ("// crate::b\n/// [`crate::c`]\nfn f() {}", ""),
        ("const X: &str = \"crate::b\";", ""),
    ] {
        assert_eq!(named(text), expected, "{text}");
    }
}

#[test]
fn a_circle_and_a_forbidden_arrow_are_seen() {
    let graph = |arrows: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in arrows {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned());
            graph.entry((*to).to_owned()).or_default();
        }
        graph
    };
    assert!(circles(&graph(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    assert_eq!(circles(&graph(&[("a", "b"), ("b", "c"), ("c", "b")])), ["b -> c -> b", "c -> b -> c"]);
    assert_eq!(forbidden(&graph(&[("node", "threads"), ("threads", "node")])), ["node -> threads"]);
}

//! Dependencies between modules: a table of layers, and no cycles between files.
//!
//! The table lists for each top-level module the modules that it may use. It is exact: an edge that
//! the table lacks fails, and so does an entry that no code needs. Test code does not count.
//!
//! Run with `cargo test --test it layers`.

mod code_paths;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    sync::LazyLock,
};

use self::code_paths::paths_in;
use crate::sources::{Source, line_of, paths, without_tests};

/// Each top-level module of the library and each other crate, with the ones that it may use.
const LAYERS: &[(&str, &str)] = &[
    ("admin", "audit auth config exemplars health metric_list model repeated_events transport"),
    ("audit", "config metric_list model repeated_events"),
    ("auth", "audit config count_guard error_chain metric_list model quota repeated_events"),
    (
        "cache",
        "changes config error_chain event_template metric_list model origin planted quota \
         repeated_events stats store trace_sampler units",
    ),
    ("changes", "metric_list model"),
    ("checker", ""),
    ("circuit_breaker", ""),
    ("client_control", ""),
    (
        "cli",
        "auth config error_chain growing_pauses model origin pb server store telemetry tls \
         transport units visible_text",
    ),
    ("cloud_events", "audit cache model"),
    ("config", "event_template model sentinel_url tls url_template"),
    ("count_guard", ""),
    ("demo", ""),
    (
        "dashboard",
        "admin audit cache config health metric_list model stats units visible_text \
     warm_list",
    ),
    ("error_chain", ""),
    (
        "event_streams",
        "audit cache config growing_pauses metric_list model repeated_events store tls",
    ),
    ("event_template", "model"),
    ("exemplars", "metric_list trace_sampler"),
    ("fuzz_engine", ""),
    ("growing_pauses", ""),
    ("health", "model pb"),
    ("metric_list", ""),
    ("model", ""),
    (
        "origin",
        "circuit_breaker config count_guard exemplars metric_list model pb repeated_events \
         url_template",
    ),
    ("pb", "model"),
    ("planted", ""),
    ("quota", "config metric_list model"),
    ("repeated_events", ""),
    (
        "rpc",
        "audit auth cache config event_template exemplars health metric_list model pb quota \
         repeated_events stats trace_sampler transport warm_list",
    ),
    ("sentinel_url", ""),
    (
        "server",
        "admin audit auth cache changes circuit_breaker cloud_events config dashboard error_chain \
         event_streams health metric_list model origin quota repeated_events rpc stats \
         store telemetry tls transport warm_list",
    ),
    ("stats", "model"),
    (
        "store",
        "changes circuit_breaker count_guard error_chain exemplars growing_pauses metric_list \
         model planted repeated_events sentinel_url stats tls trace_sampler",
    ),
    ("telemetry", "config repeated_events trace_sampler"),
    ("tls", ""),
    ("trace_sampler", ""),
    ("transport", "repeated_events"),
    ("units", ""),
    ("url_template", "model"),
    ("visible_text", ""),
    ("warm_list", "cache config model repeated_events"),
];

/// The library crate in `src`.
const ROOT: &str = "larder";

/// A module path from its crate, such as `larder`, `store`, `redis`.
type ModulePath = Vec<String>;

/// A reference from one module to another.
struct Reference {
    from: ModulePath,
    to: ModulePath,
    /// File and line.
    place: String,
}

/// Which node uses which, with the places of each edge.
type Graph = BTreeMap<String, BTreeMap<String, Vec<String>>>;

#[test]
fn modules_use_only_what_the_table_allows() {
    let mut missing = Vec::new();
    for (from, edges) in layers_in_use() {
        let allowed = LAYERS.iter().find(|(name, _)| *name == from).map(|(_, allowed)| *allowed);
        let allowed = allowed.into_iter().flat_map(str::split_whitespace);
        for (to, places) in edges {
            if !allowed.clone().any(|name| name == to) {
                missing.push(format!("{from} -> {to}: {}", places.join(", ")));
            }
        }
    }
    assert!(missing.is_empty(), "not allowed by the table:\n{}", missing.join("\n"));
}

#[test]
fn every_entry_of_the_table_is_needed() {
    let used = layers_in_use();
    let mut unneeded = Vec::new();
    for (from, allowed) in LAYERS {
        if !used.contains_key(*from) {
            unneeded.push(format!("{from}: there is no such module"));
            continue;
        }
        let needed = |to: &str| used[*from].contains_key(to);
        unneeded.extend(
            allowed
                .split_whitespace()
                .filter(|to| !needed(to))
                .map(|to| format!("{from} -> {to}: not used")),
        );
    }
    let listed: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    let unlisted = used.keys().filter(|name| !listed.contains(name.as_str()));
    unneeded.extend(unlisted.map(|name| format!("{name}: not in the table")));
    assert!(unneeded.is_empty(), "the table is not true:\n{}", unneeded.join("\n"));
}

#[test]
fn the_table_has_no_cycles() {
    let graph: Graph = LAYERS
        .iter()
        .map(|(from, allowed)| {
            let edges = allowed.split_whitespace().map(|to| (to.to_owned(), Vec::new()));
            ((*from).to_owned(), edges.collect())
        })
        .collect();
    let cycles: Vec<String> = cycles(&graph).iter().map(|cycle| cycle.join(" -> ")).collect();
    assert!(cycles.is_empty(), "the table has cycles:\n{}", cycles.join("\n"));
}

#[test]
fn files_of_a_folder_have_no_cycles() {
    let mut report = Vec::new();
    for (folder, graph) in folders(&MODULES.references()) {
        for cycle in cycles(&graph) {
            let places: Vec<&str> = cycle
                .windows(2)
                .map(|edge| graph[edge[0].as_str()][edge[1].as_str()][0].as_str())
                .collect();
            report.push(format!(
                "{}: {} ({})",
                folder.join("::"),
                cycle.join(" -> "),
                places.join(", ")
            ));
        }
    }
    assert!(report.is_empty(), "files use each other in a cycle:\n{}", report.join("\n"));
}

// === Graphs ===

/// Which top-level modules and crates use which.
fn layers_in_use() -> Graph {
    let mut graph = Graph::new();
    for path in &MODULES.paths {
        if path.len() == 2 || path[0] != ROOT {
            graph.entry(layer(path).to_owned()).or_default();
        }
    }
    for reference in MODULES.references() {
        let (from, to) = (layer(&reference.from).to_owned(), layer(&reference.to).to_owned());
        // The root of the library declares modules, and every module may use it.
        if from != to && from != ROOT && to != ROOT {
            add(&mut graph, from, to, reference.place);
        }
    }
    graph
}

/// The node of the table that a module belongs to: a top-level module, or another crate.
fn layer(path: &[String]) -> &str {
    if path[0] == ROOT { path.get(1).unwrap_or(&path[0]) } else { &path[0] }
}

/// For each folder, which of its files use which. A file counts together with its own folder.
/// References from a file to its parent module do not count.
fn folders(references: &[Reference]) -> BTreeMap<ModulePath, Graph> {
    let mut folders: BTreeMap<ModulePath, Graph> = BTreeMap::new();
    for Reference { from, to, place } in references {
        let common = from.iter().zip(to).take_while(|(one, other)| one == other).count();
        // The table is about the files directly in `src`.
        let is_table = common == 0 || from[..common] == [ROOT];
        if is_table || from.len() == common || to.len() == common {
            continue;
        }
        let graph = folders.entry(from[..common].to_vec()).or_default();
        add(graph, from[common].clone(), to[common].clone(), place.clone());
    }
    folders
}

fn add(graph: &mut Graph, from: String, to: String, place: String) {
    let places = graph.entry(from).or_default().entry(to).or_default();
    if places.last() != Some(&place) {
        places.push(place);
    }
}

/// Cycles of a graph, each as a path back to its start: for every edge the shortest cycle over it.
fn cycles(graph: &Graph) -> BTreeSet<Vec<String>> {
    let mut cycles = BTreeSet::new();
    for (from, edges) in graph {
        for to in edges.keys() {
            if let Some(mut cycle) = shortest_path(graph, to, from) {
                // Each cycle starts with its first name, so that the set holds it once.
                let first = (0..cycle.len()).min_by_key(|index| &cycle[*index]).unwrap();
                cycle.rotate_left(first);
                cycle.push(cycle[0].clone());
                cycles.insert(cycle);
            }
        }
    }
    cycles
}

/// The shortest path between two nodes, both included.
fn shortest_path(graph: &Graph, from: &str, to: &str) -> Option<Vec<String>> {
    let mut previous: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(node) = queue.pop_front() {
        if node == to {
            let mut path = vec![to.to_owned()];
            while path.last().unwrap() != from {
                path.push(previous[path.last().unwrap().as_str()].to_owned());
            }
            path.reverse();
            return Some(path);
        }
        for next in graph.get(node).into_iter().flat_map(BTreeMap::keys) {
            if next != from && !previous.contains_key(next.as_str()) {
                previous.insert(next, node);
                queue.push_back(next);
            }
        }
    }
    None
}

// === References ===

/// Read once for all tests.
static MODULES: LazyLock<Modules> = LazyLock::new(Modules::read);

/// All modules of the workspace, without test modules.
struct Modules {
    paths: BTreeSet<ModulePath>,
    /// Module, file and code, without tests.
    files: Vec<(ModulePath, String, String)>,
}

impl Modules {
    fn read() -> Self {
        let mut modules = Self { paths: BTreeSet::new(), files: Vec::new() };
        modules.add_crate(ROOT, "src");
        for manifest in paths("crates").iter().filter(|path| path.ends_with("Cargo.toml")) {
            let folder = manifest.trim_end_matches("Cargo.toml");
            modules.add_crate(&library_name(manifest), &format!("{folder}src"));
        }
        modules
    }

    fn add_crate(&mut self, name: &str, folder: &str) {
        let mut test_modules = BTreeSet::new();
        let mut files = Vec::new();
        for source in Source::read_all(folder) {
            let Some(module) = module_path(name, folder, &source.path) else { continue };
            let (code, tests) = without_tests(&source.code);
            test_modules.extend(tests.into_iter().map(|test| child(&module, &test)));
            files.push((module, source.path, code));
        }
        let is_test = |module: &[String]| {
            (1..=module.len()).any(|length| test_modules.contains(&module[..length]))
        };
        files.retain(|(module, _, _)| !is_test(module));
        self.paths.extend(files.iter().map(|(module, _, _)| module.clone()));
        self.files.extend(files);
    }

    fn references(&self) -> Vec<Reference> {
        let mut references = Vec::new();
        for (module, file, code) in &self.files {
            for (from, path, position) in paths_in(module, code) {
                if let Some(to) = self.resolve(&from, &path) {
                    let place = format!("{file}:{}", line_of(code, position));
                    references.push(Reference { from: self.containing(&from), to, place });
                }
            }
        }
        references
    }

    /// The module that a path of code in `from` leads to; `None` if it leads out of the workspace.
    fn resolve(&self, from: &[String], path: &[String]) -> Option<ModulePath> {
        let mut target = match path[0].as_str() {
            "crate" => from[..1].to_vec(),
            "self" | "super" => from.to_vec(),
            // The name of a crate, unless a module of the library has the same name.
            name if name != ROOT && !self.paths.contains(&child(&from[..1], name)) => {
                vec![self.paths.get(&vec![name.to_owned()])?[0].clone()]
            }
            _ => return None,
        };
        let rest = if path[0] == "super" { path } else { &path[1..] };
        for segment in rest {
            if segment == "super" {
                target.pop();
            } else if segment != "self" {
                target.push(segment.clone());
            }
        }
        (!target.is_empty()).then(|| self.containing(&target))
    }

    /// The innermost module with a file on a path, which ends with items of that module.
    fn containing(&self, path: &[String]) -> ModulePath {
        let lengths = (1..=path.len()).rev();
        let mut prefixes = lengths.map(|length| path[..length].to_vec());
        prefixes.find(|prefix| self.paths.contains(prefix)).unwrap_or_else(|| path[..1].to_vec())
    }
}

fn child(module: &[String], name: &str) -> ModulePath {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

/// The name by which code refers to a crate.
fn library_name(manifest: &str) -> String {
    let text = fs::read_to_string(format!("{}/{manifest}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let name = text.lines().find_map(|line| line.strip_prefix("name = ")).unwrap();
    name.trim_matches('"').replace('-', "_")
}

/// The module of a file; `None` for files of tests and of other languages.
fn module_path(name: &str, folder: &str, file: &str) -> Option<ModulePath> {
    let relative = file.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(".rs")?;
    let mut path = vec![name.to_owned()];
    path.extend(relative.split('/').map(str::to_owned));
    if path.iter().any(|segment| segment == "tests") {
        return None;
    }
    if matches!(path.last().unwrap().as_str(), "lib" | "main" | "mod") {
        path.pop();
    }
    Some(path)
}

#[test]
fn cycles_are_found_once() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph.entry((*from).to_owned()).or_default().insert((*to).to_owned(), Vec::new());
        }
        graph
    };
    let found: Vec<String> =
        cycles(&graph(&[("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "c"), ("d", "e")]))
            .iter()
            .map(|cycle| cycle.join(" "))
            .collect();
    assert_eq!(found, ["a b c a", "c d c"]);
    assert!(cycles(&graph(&[("a", "b"), ("a", "c"), ("b", "c")])).is_empty());
}

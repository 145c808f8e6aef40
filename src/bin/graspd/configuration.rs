//! The configuration as a whole: the file, the files that its keys name, and the static objectives. It is read at the start, at a
//! reload, and by `--check`. A configuration with a problem is not used at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use grasp::domain::{Files, Kept};
use grasp::{Acp, Config, keyfile};
use log::LevelFilter;

use crate::access::Rules;
use crate::file::{self, Problem};
use crate::metrics::Place;
use crate::settings::Settings;
use crate::statics::{self, Static};

/// The configuration of graspd.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    /// The keys of the file.
    pub(crate) settings: Settings,
    /// What the processes of this machine may do.
    pub(crate) access: Rules,
    /// The static objectives.
    pub(crate) objectives: Vec<Static>,
    /// Where their files are.
    pub(crate) directory: PathBuf,
    acp: Acp,
}

impl Configuration {
    /// Reads a file; `None` stands for an empty one.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, Vec<Problem>> {
        let table = match path {
            Some(path) => file::read(path),
            None => file::parse(Path::new("graspd.toml"), ""),
        };
        let mut table = table.map_err(|problem| vec![problem])?;
        let mut problems = Vec::new();
        let settings = Settings::take(&mut table, &mut problems);
        let access = Rules::take(&mut table, &mut problems);
        problems.extend(table.finish());
        let from = path.and_then(Path::parent).unwrap_or_else(|| Path::new("."));
        let named = path.unwrap_or_else(|| Path::new("graspd.toml"));
        let acp = acp(&settings, named, from, &mut problems);
        let directory = from.join(settings.text("objectives", "directory").unwrap_or_default());
        let dull = settings.value("dull", "enabled").as_bool().unwrap_or(false);
        let objectives = statics::read(&directory, dull, &mut problems);
        match acp {
            Some(acp) if problems.is_empty() => Ok(Self { settings, access, objectives, directory, acp }),
            _ => Err(problems),
        }
    }

    /// The configuration in force after a reload: this one, with the values of `before` for everything that a reload cannot
    /// change.
    pub(crate) fn reloaded_over(self, before: &Self) -> Self {
        let settings = self.settings.with_all_but_reloadable_of(&before.settings);
        Self { settings, acp: before.acp.clone(), ..self }
    }

    /// The certificate and key of this node, and whom it trusts, if TLS secures its sessions.
    pub(crate) fn credentials(&self) -> Option<&Arc<Kept>> {
        match &self.acp {
            Acp::InterfacesWithTls { credentials, .. }
            | Acp::Domain(credentials)
            | Acp::Fallback { domain: credentials, .. } => Some(credentials),
            _ => None,
        }
    }

    /// The settings of the normal instance.
    pub(crate) fn engine(&self) -> Config {
        self.settings.engine().acp(self.acp.clone())
    }

    /// The settings of the DULL instances, if they are enabled.
    pub(crate) fn dull(&self) -> Option<Config> {
        let settings = &self.settings;
        settings.value("dull", "enabled").as_bool().filter(|enabled| *enabled)?;
        let config = settings.engine().acp(Acp::None).wait_for_interfaces(true).pcap(None);
        let config = config.dull_objectives(settings.texts("dull", "objectives"));
        Some(match settings.texts("dull", "interfaces") {
            Some(interfaces) => config.interfaces(Some(interfaces)),
            None => config,
        })
    }

    /// The level of the log.
    pub(crate) fn log_level(&self) -> LevelFilter {
        self.settings.text("log", "level").and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::Info)
    }

    /// Where metrics are served.
    pub(crate) fn metrics(&self) -> Option<Place> {
        self.settings.text("metrics", "listen").and_then(|place| Place::parse(&place))
    }
}

/// The ACP that the settings choose, with its keys.
fn acp(settings: &Settings, file: &Path, from: &Path, problems: &mut Vec<Problem>) -> Option<Acp> {
    let mut problem = |text: String| {
        problems.push(Problem::of(file, text));
        None
    };
    let kind = settings.text("acp", "kind").unwrap_or_default();
    let interfaces = settings.texts("acp", "interfaces").unwrap_or_default();
    let keys = settings.text("acp", "keyfile");
    let neighbours = settings.value("acp", "neighbours").as_bool().unwrap_or(false);
    let credentials = match settings.text("acp", "credentials") {
        None => None,
        Some(_) if !matches!(kind.as_str(), "interfaces" | "domain" | "fallback") => {
            return problem(format!(
                "acp.credentials goes with the kinds interfaces, domain and fallback only; the kind is {kind}"
            ));
        }
        Some(directory) => match Kept::load(Files::in_directory(from.join(directory))) {
            Ok(kept) => Some(Arc::new(kept)),
            Err(error) => return problem(format!("acp.credentials: {error}")),
        },
    };
    if neighbours && (kind != "interfaces" || credentials.is_none()) {
        return problem("acp.neighbours goes with the kind interfaces and acp.credentials only".to_owned());
    }
    match (kind.as_str(), interfaces.as_slice(), keys) {
        ("interfaces" | "fallback", [], _) => {
            problem("acp.interfaces must name the interfaces of the ACP".to_owned())
        }
        ("interfaces", _, None) => Some(match credentials {
            None => Acp::Interfaces(interfaces),
            Some(credentials) => Acp::InterfacesWithTls { names: interfaces, credentials, neighbours },
        }),
        ("domain", [], None) | ("fallback", _, None) => match credentials {
            None => {
                problem("acp.credentials must be the directory of the node's certificate and key".to_owned())
            }
            Some(domain) if kind == "domain" => Some(Acp::Domain(domain)),
            Some(domain) => Some(Acp::Fallback { acp: Box::new(Acp::Interfaces(interfaces)), domain }),
        },
        ("quads", _, None) => problem("acp.keyfile must be the path of a file with keys".to_owned()),
        ("quads", [], Some(path)) => {
            let path = from.join(path);
            match keyfile::read(&path) {
                Ok(Some(keys)) => Some(Acp::Quads(keys)),
                Ok(None) => problem(format!("acp.keyfile: {} has no key", path.display())),
                Err(error) => problem(format!("acp.keyfile: {error}")),
            }
        }
        ("none", [], None) => Some(Acp::None),
        ("layer2", [], None) => Some(Acp::Layer2),
        ("environment", [], None) => Some(Acp::Environment),
        _ => problem(format!(
            "acp.interfaces goes with the kinds interfaces and fallback only, and acp.keyfile with quads; the kind is {kind}"
        )),
    }
}

//! `store.url_file`: the URL of the store in a file of its own, so that a password in it is neither
//! in the configuration nor in a variable or flag.

use std::path::{Path, PathBuf};

use super::StoreConfig;
use super::diagnostics::Diagnostics;
use super::file::read_text;
use super::store_url::StoreUrl;
use super::value::{ValueType, optional_path, value_type};

/// Size limit of the file.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The keys of a store that one source sets.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StoreKeys {
    pub(super) has_url: bool,
    pub(super) has_file: bool,
}

/// The path of the file. It is rendered with `url`, which hides secrets, as a comment.
pub(super) fn url_file(url: String) -> impl ValueType<Value = Option<PathBuf>> {
    let (path, rendered) = (optional_path(), optional_path());
    value_type(
        move |raw| path.parse(raw),
        move |path: &Option<PathBuf>| {
            let comment = if path.is_some() { format!(" # {url}") } else { String::new() };
            format!("{}{comment}", rendered.render(path))
        },
    )
}

impl StoreConfig {
    /// Reads the URL from its file, if the last of the `sources` that names a store names a file.
    pub(super) fn resolve_file(&mut self, sources: &[StoreKeys], diagnostics: &mut Diagnostics) {
        let deciding = sources.iter().rfind(|source| source.has_url || source.has_file);
        match deciding {
            Some(StoreKeys { has_url: true, has_file: true }) => {
                let message = "expected either store.url or store.url_file, got both";
                diagnostics.conflict("store.url_file", "store.url", message.to_owned());
            }
            Some(StoreKeys { has_file: true, .. }) => {}
            _ => self.url_file = None,
        }
        if let Some(path) = &self.url_file {
            match read_url(path) {
                Ok(url) => self.url = url,
                Err(message) => diagnostics.reject("store.url_file", message),
            }
        }
    }
}

/// Reads the URL of a server from a file. The messages repeat nothing of the content.
pub(super) fn read_url(path: &Path) -> Result<StoreUrl, String> {
    let name = path.display();
    let text = read_text(path, MAX_FILE_BYTES)
        .map_err(|error| format!("the file {name} cannot be read: {error}"))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("the file {name} is empty"));
    }
    if text.contains(['\n', '\r']) {
        return Err(format!("the file {name} has more than one line"));
    }
    text.parse().map_err(|error: super::InvalidStoreUrl| {
        format!(
            "the file {name} must contain {}, and contains {}",
            StoreUrl::FORMS,
            error.problem()
        )
    })
}

//! A page in `docs/runbooks` for each alert, and none besides.

use std::{collections::BTreeSet, path::Path};

use super::rules::rules;
use crate::sources::{paths, read_text};

const SECTIONS: [&str; 6] =
    ["Meaning", "Impact", "How to see it", "Causes", "What to do", "How to prevent it"];

/// Names of the alerts.
fn alerts() -> BTreeSet<String> {
    rules().into_iter().filter(|rule| rule.is_alert).map(|rule| rule.name).collect()
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let pages = paths("docs/runbooks").into_iter().filter(|path| !path.ends_with("README.md"));
    let pages = pages.map(|path| Path::new(&path).file_stem().unwrap().to_string_lossy().into());
    assert_eq!(pages.collect::<BTreeSet<String>>(), alerts());
    let index = read_text("docs/runbooks/README.md");
    for rule in rules().iter().filter(|rule| rule.is_alert) {
        let name = &rule.name;
        let link = format!("runbook_url: \"docs/runbooks/{name}.md\"");
        assert!(rule.text.contains(&link), "{name} lacks {link}");
        assert!(index.contains(&format!("[{name}]({name}.md)")), "the index lacks {name}");
    }
}

#[test]
fn runbooks_have_all_sections() {
    for name in alerts() {
        let page = read_text(&format!("docs/runbooks/{name}.md"));
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        let titles: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(titles, SECTIONS, "{name}");
        for section in page.split("\n## ").skip(1) {
            let body = section.split_once('\n').map_or("", |(_, body)| body.trim());
            assert!(body.len() > 3, "{name}: an empty section {section:?}");
        }
        let commands = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
        assert!(commands.is_some_and(|commands| !commands.trim().is_empty()), "{name}: no command");
    }
}

#[test]
fn links_of_runbooks_lead_somewhere() {
    for path in paths("docs/runbooks") {
        for link in read_text(&path).split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = Path::new("docs/runbooks").join(file);
            let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(target);
            assert!(target.exists(), "{path}: {link}");
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                let titles = text.lines().filter(|line| line.starts_with('#'));
                let mut anchors = titles.map(|title| anchor_of(title.trim_start_matches('#')));
                assert!(anchors.any(|known| known == anchor), "{path}: {link}");
            }
        }
    }
}

/// The name by which a heading is linked.
fn anchor_of(title: &str) -> String {
    let kept = title.trim().to_lowercase();
    kept.chars()
        .filter(|char| char.is_alphanumeric() || [' ', '-', '_'].contains(char))
        .map(|char| if char == ' ' { '-' } else { char })
        .collect()
}

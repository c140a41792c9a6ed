//! Invalidations by tag, pattern, key, namespace and event.

use std::collections::BTreeMap;

use crate::{
    Error, Invalidated, Published, Targets, checks,
    core::{BATCH_KEYS, Scope, Spec},
    key::Address,
    pb::{self, target::Target as Kind},
};

const TAGS_PER_TARGET: usize = 32;

impl Scope {
    /// Makes entries unreachable. More than 1,000 targets are several calls.
    pub(crate) async fn invalidate(
        &self,
        targets: &Targets,
        addresses: &[Address],
    ) -> Result<Invalidated, Error> {
        self.core.check_open()?;
        checks::each_tag(&targets.tags)?;
        let hold_off = checks::hold_off(targets.hold_off)?;
        let namespace = || self.namespace.to_string();
        let keys = addresses.iter().map(|address| {
            let (key, params) = (address.key.clone(), address.params.clone());
            Kind::Key(pb::KeyRef { namespace: namespace(), key, params })
        });
        let tags = targets
            .tags
            .chunks(TAGS_PER_TARGET)
            .map(|tags| Kind::Tags(pb::TagTarget { namespace: namespace(), tags: tags.to_vec() }));
        let globs = targets.globs.iter().map(|glob| {
            Kind::Pattern(pb::PatternTarget { namespace: namespace(), glob: glob.clone() })
        });
        let all: Vec<_> =
            keys.chain(tags).chain(globs).map(|kind| pb::Target { target: Some(kind) }).collect();
        let spec = self.spec(targets.timeout, true)?;
        let mut result = Invalidated::default();
        for part in all.chunks(BATCH_KEYS) {
            let request =
                pb::InvalidateRequest { targets: part.to_vec(), hold_off, required_durability: 0 };
            let answer = self.call(request, spec).await?;
            result.queued |= answer.durability() == pb::Durability::Queued;
            for each in answer.results {
                if result.existed.len() < addresses.len() {
                    result.existed.push(each.existed);
                }
                result.namespace_invalidated |= each.namespace_invalidated;
            }
        }
        Ok(result)
    }

    /// Makes all entries of the namespace unreachable.
    pub(crate) async fn invalidate_namespace(&self) -> Result<Invalidated, Error> {
        let request = pb::InvalidateNamespaceRequest {
            namespace: self.namespace.to_string(),
            required_durability: 0,
        };
        let answer = self.call(request, self.spec(None, true)?).await?;
        let queued = answer.durability() == pb::Durability::Queued;
        Ok(Invalidated { queued, namespace_invalidated: true, existed: Vec::new() })
    }

    /// Invalidates what the rules of the server select for an event.
    pub(crate) async fn publish_event(
        &self,
        name: String,
        attributes: BTreeMap<String, String>,
        spec: Spec,
    ) -> Result<Published, Error> {
        let event = Kind::Event(pb::EventTarget { name, attributes });
        let request = pb::InvalidateRequest {
            targets: vec![pb::Target { target: Some(event) }],
            hold_off: None,
            required_durability: 0,
        };
        let answer = self.call(request, spec).await?;
        let queued = answer.durability() == pb::Durability::Queued;
        let targets = answer.events.iter().map(|event| event.targets.len()).sum();
        Ok(Published { targets, queued })
    }
}

//! The permissions of the caller of a request. Handlers check them before anything is done.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use tonic::{Request, Status};

use super::{method::Method, permissions::Permission, status};
use crate::{
    auth::{Principal, Refusal, Refusals, Scope},
    cache::{
        self, FetchMode, GetOrFetchRequest, InvalidateTarget, KeyQuery, NamespaceFilter,
        SetCommand, SetMode,
    },
    model::{EntryKey, Glob, Namespace, Verb},
    quota::CallQuota,
};

/// The permissions and the quota of the caller of one request. An extension of requests.
#[derive(Clone, Default)]
pub(super) struct Access {
    /// None while authentication is off.
    pub(super) caller: Option<Caller>,
    /// None if no quota applies to the call.
    pub(super) quota: Option<Arc<CallQuota>>,
}

/// The caller of a request.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) principal: Arc<Principal>,
    pub(super) method: Method,
    pub(super) peer: SocketAddr,
    pub(super) refusals: Arc<Refusals>,
    /// Whether the call is recorded as one that would be refused. Unset if it is refused.
    pub(super) is_recorded: Option<Arc<AtomicBool>>,
}

/// Part of the cache that a call touches, for the error if it is refused.
#[derive(Clone, Copy, Default)]
struct Touched<'a> {
    namespace: Option<&'a str>,
    /// Position in a batch.
    index: Option<usize>,
    /// A part of the namespace.
    scope: Option<Scope<'a>>,
}

impl Access {
    /// That of a request.
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        request.extensions().get::<Self>().cloned().unwrap_or_default()
    }

    /// The caller; none while authentication is off.
    pub(super) fn principal(&self) -> Option<&Arc<Principal>> {
        self.caller.as_ref().map(|caller| &caller.principal)
    }

    /// Its use of quotas; none if no quota applies to it.
    pub(super) fn quota(&self) -> Option<&Arc<CallQuota>> {
        self.quota.as_ref()
    }

    /// Whether every call is allowed, without a limit.
    pub(super) fn is_unrestricted(&self) -> bool {
        self.caller.is_none() && self.quota.is_none()
    }

    #[inline]
    fn touch(&self, namespace: &Namespace) -> Result<(), Status> {
        match &self.quota {
            Some(quota) => Ok(quota.touch(namespace).map_err(cache::Error::from)?),
            None => Ok(()),
        }
    }

    /// Checks the permission of the method for a key.
    #[inline]
    pub(super) fn check(&self, key: &EntryKey) -> Result<(), Status> {
        self.check_key(key, false, None)
    }

    /// As [`Self::check`], in the special case of the method.
    #[inline]
    pub(super) fn check_special(&self, key: &EntryKey) -> Result<(), Status> {
        self.check_key(key, true, None)
    }

    /// Checks the permission for one key of a batch. `is_special`: see [`Permission::special`].
    #[inline]
    pub(super) fn check_item(
        &self,
        index: usize,
        key: &EntryKey,
        is_special: bool,
    ) -> Result<(), Status> {
        self.check_key(key, is_special, Some(index))
    }

    /// Checks the permission for all keys of a batch.
    pub(super) fn check_keys(&self, keys: &[EntryKey], is_special: bool) -> Result<(), Status> {
        if self.is_unrestricted() {
            return Ok(());
        }
        let mut keys = keys.iter().enumerate();
        keys.try_for_each(|(index, key)| self.check_item(index, key, is_special))
    }

    /// Checks the permission to write entries whose TTL a read extends (sliding expiration).
    pub(super) fn check_slides(&self, keys: &[EntryKey]) -> Result<(), Status> {
        let Some(caller) = &self.caller else { return Ok(()) };
        let is_batch = keys.len() > 1;
        for (index, key) in keys.iter().enumerate() {
            let index = is_batch.then_some(index);
            caller.check(Some(Verb::Write), key.namespace(), Scope::Key(key.key()), index)?;
        }
        Ok(())
    }

    /// Checks the permission for all of a namespace.
    pub(super) fn check_namespace(&self, namespace: &Namespace) -> Result<(), Status> {
        self.check_scope(namespace, Scope::ALL, None)
    }

    /// Checks the permission for a part of a namespace.
    pub(super) fn check_scope(
        &self,
        namespace: &Namespace,
        scope: Scope<'_>,
        index: Option<usize>,
    ) -> Result<(), Status> {
        if let Some(caller) = &self.caller {
            let verb = Permission::of(caller.method).verb();
            caller.check(verb, namespace, scope, index)?;
        }
        self.touch(namespace)
    }

    /// Checks the permission for the names of namespaces, of which each must be valid.
    pub(super) fn check_names(&self, names: &[String]) -> Result<(), Status> {
        if self.is_unrestricted() {
            return Ok(());
        }
        for (index, name) in names.iter().enumerate() {
            // One that is malformed is refused where it is read.
            if let Ok(namespace) = Namespace::new(name) {
                self.check_scope(&namespace, Scope::ALL, Some(index))?;
            }
        }
        Ok(())
    }

    /// Checks the permission for a write. `index`: its position in a batch.
    #[inline]
    pub(super) fn check_set(
        &self,
        command: &SetCommand,
        index: Option<usize>,
    ) -> Result<(), Status> {
        let is_fill = matches!(command.mode, SetMode::Under(_));
        self.check_key(&command.key, is_fill, index)?;
        self.check_value(command.data.len())
    }

    /// Largest value that the caller may write, in bytes; none if its quota does not limit it.
    pub(super) fn max_value_bytes(&self) -> Option<usize> {
        self.quota.as_ref()?.max_value_bytes()
    }

    /// Checks the size of a value that is written, in bytes.
    pub(super) fn check_value(&self, bytes: usize) -> Result<(), Status> {
        match &self.quota {
            Some(quota) => Ok(quota.check_value(bytes).map_err(cache::Error::from)?),
            None => Ok(()),
        }
    }

    /// Checks the permission for a GetOrFetch.
    #[inline]
    pub(super) fn check_fetch(&self, request: &GetOrFetchRequest) -> Result<(), Status> {
        self.check_key(&request.key, request.mode == FetchMode::OnlyIfCached, None)
    }

    /// Checks the permission for a list of keys.
    pub(super) fn check_query(&self, query: &KeyQuery) -> Result<(), Status> {
        let begin = query.glob.as_ref().map_or("", Glob::prefix);
        self.check_scope(&query.namespace, Scope::Prefix(begin), None)
    }

    /// Checks the permission for a target of an invalidation. `is_special`: see
    /// [`Permission::special`].
    pub(super) fn check_target(
        &self,
        target: &InvalidateTarget,
        index: usize,
        is_special: bool,
    ) -> Result<(), Status> {
        let Some(caller) = &self.caller else { return self.touch(target.namespace()) };
        let scope = scope_of(target);
        let permission = Permission::of(caller.method);
        let verb = if is_special { permission.special() } else { permission.verb() };
        caller.check(verb, target.namespace(), scope, Some(index))?;
        self.touch(target.namespace())
    }

    /// The namespaces that the caller may see; none if it may see all of them.
    pub(super) fn filter(&self) -> Option<NamespaceFilter> {
        if self.sees_all() {
            return None;
        }
        let access = self.clone();
        Some(Arc::new(move |namespace| access.sees(namespace)))
    }

    /// Checks whether the caller has the permission of the special case anywhere.
    pub(super) fn check_special_anywhere(&self) -> Result<(), Status> {
        let Some(caller) = &self.caller else { return Ok(()) };
        match Permission::of(caller.method).special() {
            Some(verb) if !caller.principal.grants().allow_anywhere(verb) => {
                caller.refuse(verb, Touched::default())
            }
            _ => Ok(()),
        }
    }

    /// Checks the permission for all namespaces at once, or for the server.
    pub(super) fn check_everywhere(&self) -> Result<(), Status> {
        let Some(caller) = &self.caller else { return Ok(()) };
        match Permission::of(caller.method).verb() {
            Some(verb) if !caller.principal.grants().allow_everywhere(verb) => {
                caller.refuse(verb, Touched::default())
            }
            _ => Ok(()),
        }
    }

    /// Whether the caller may see a namespace in a list: whether it has the permission for a key of
    /// it.
    pub(super) fn sees(&self, namespace: &str) -> bool {
        let Some(caller) = &self.caller else { return true };
        let verb = Permission::of(caller.method).verb();
        !caller.principal.is_enforced()
            || verb.is_none_or(|verb| caller.principal.grants().allow_some(verb, namespace))
    }

    /// Whether the caller has the permission for a target of an invalidation.
    pub(super) fn may_use(&self, target: &InvalidateTarget) -> bool {
        let Some(caller) = &self.caller else { return true };
        let verb = Permission::of(caller.method).verb();
        let (grants, namespace) = (caller.principal.grants(), target.namespace().as_str());
        !caller.principal.is_enforced()
            || verb.is_none_or(|verb| grants.allow(verb, namespace, scope_of(target)))
    }

    /// Whether [`Self::sees`] is true of every namespace.
    fn sees_all(&self) -> bool {
        let Some(caller) = &self.caller else { return true };
        let verb = Permission::of(caller.method).verb();
        let grants = caller.principal.grants();
        !caller.principal.is_enforced() || verb.is_none_or(|verb| grants.allow_everywhere(verb))
    }

    #[inline]
    fn check_key(
        &self,
        key: &EntryKey,
        is_special: bool,
        index: Option<usize>,
    ) -> Result<(), Status> {
        if let Some(caller) = &self.caller {
            let permission = Permission::of(caller.method);
            let verb = if is_special { permission.special() } else { permission.verb() };
            caller.check(verb, key.namespace(), Scope::Key(key.key()), index)?;
        }
        self.touch(key.namespace())
    }
}

impl Caller {
    #[inline]
    fn check(
        &self,
        verb: Option<Verb>,
        namespace: &Namespace,
        scope: Scope<'_>,
        index: Option<usize>,
    ) -> Result<(), Status> {
        let namespace = namespace.as_str();
        match verb {
            Some(verb) if !self.principal.grants().allow(verb, namespace, scope) => {
                self.refuse(verb, Touched { namespace: Some(namespace), index, scope: Some(scope) })
            }
            _ => Ok(()),
        }
    }

    /// Checks whether the method is allowed anywhere.
    #[inline]
    pub(super) fn check_method(&self, permission: Permission) -> Result<(), Box<Status>> {
        let grants = self.principal.grants();
        let (verb, is_allowed) = match permission {
            Permission::Public => return Ok(()),
            Permission::Needs(verb) => (verb, grants.allow_anywhere(verb)),
            Permission::Either(verb, special) => {
                (verb, grants.allow_anywhere(verb) || grants.allow_anywhere(special))
            }
            // The descriptors are the same in every namespace.
            Permission::Server(Verb::Reflect) => {
                (Verb::Reflect, grants.allow_server(Verb::Reflect))
            }
            Permission::Server(verb) => (verb, grants.allow_everywhere(verb)),
        };
        // In the shadow mode, the check of the namespace records it.
        let is_for_server = matches!(permission, Permission::Server(_));
        if is_allowed || (!self.principal.is_enforced() && !is_for_server) {
            return Ok(());
        }
        self.refuse(verb, Touched::default()).map_err(Box::new)
    }

    /// Records a refusal; in the shadow mode, the call goes on.
    #[cold]
    fn refuse(&self, verb: Verb, touched: Touched<'_>) -> Result<(), Status> {
        let principal = &self.principal;
        // In the shadow mode, the call goes on, and would be recorded for each of its keys.
        if self.is_recorded.as_ref().is_some_and(|recorded| recorded.swap(true, Relaxed)) {
            return Ok(());
        }
        self.refusals.record(&Refusal {
            principal: Some(principal.name()),
            label: principal.label(),
            method: self.method.name(),
            missing: Some((verb, touched.namespace)),
            scope: touched.scope,
            index: touched.index,
            reason: status::PERMISSION_DENIED,
            is_enforced: principal.is_enforced(),
            peer: self.peer,
        });
        if !principal.is_enforced() {
            return Ok(());
        }
        Err(status::permission_denied(principal.name(), verb, touched.namespace, touched.index))
    }
}

/// The part of its namespace that a target concerns.
fn scope_of(target: &InvalidateTarget) -> Scope<'_> {
    match target {
        InvalidateTarget::Namespace(_) | InvalidateTarget::Tags(..) => Scope::ALL,
        InvalidateTarget::Pattern(_, glob) => Scope::Prefix(glob.prefix()),
        InvalidateTarget::Key(key) | InvalidateTarget::KeyOfAllVersions(key) => {
            Scope::Key(key.key())
        }
    }
}

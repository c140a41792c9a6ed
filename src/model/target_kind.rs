//! Kinds of parts of a namespace, by which entries are selected.

/// A kind of a part of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// All entries of a namespace.
    Namespace,
    /// Entries with a key.
    Key,
    /// Entries with a tag.
    Tag,
    /// Entries whose key matches a glob.
    Glob,
    /// Entries whose key begins with a text.
    Prefix,
}

impl TargetKind {
    /// The name in records of the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Key => "key",
            Self::Tag => "tag",
            Self::Glob => "glob",
            Self::Prefix => "prefix",
        }
    }
}

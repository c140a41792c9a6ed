//! Callers: identifies them by their credentials, and decides what they may do.
//!
//! [`Authenticator::authenticate`] turns the credentials of a call into a [`Principal`], whose
//! [`Grants`] allow verbs in namespaces. A credential is checked once: after that it is looked up,
//! until it expires or the configuration changes. Credentials are not kept: the table has keyed
//! hashes of tokens.
//!
//! Nothing here depends on gRPC: `src/rpc` reads the credentials, and refuses calls. `src/admin`
//! asks for the principals of people.

mod authenticator;
mod certificate_names;
mod checked_credentials;
mod error;
mod grants;
mod jwt;
mod key_refresh;
mod minted;
mod principal;
mod refusals;
mod token;

pub use authenticator::{Authenticated, Authenticator, CallCredentials};
pub use error::AuthError;
pub use grants::{Grants, Scope};
pub use key_refresh::PendingKeys;
pub use minted::{MintError, MintRequest, MintedToken};
pub use principal::Principal;
pub use refusals::{Refusal, Refusals};
pub use token::NewToken;

//! Why credentials are not accepted.

/// Why credentials are not accepted. The messages repeat no part of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The call has none, and callers without credentials have no role.
    #[error(
        "the call has no credentials: send the metadata authorization: Bearer <token>, or use a \
         client certificate"
    )]
    NoCredentials,
    /// The metadata `authorization` is not a bearer token.
    #[error("the metadata authorization must be Bearer and a token")]
    Malformed,
    /// The token is none that the server has, and no JSON Web Token.
    #[error("the token is unknown")]
    UnknownToken,
    /// A JSON Web Token is malformed, or lacks a claim that it must have.
    #[error("the JSON Web Token is malformed, or lacks one of the claims iss, aud, exp and sub")]
    MalformedToken,
    /// No issuer is configured with the claim `iss`.
    #[error("the issuer of the token is not configured")]
    UnknownIssuer,
    /// The header `alg` is not one of public keys, or not that of the key.
    #[error("the algorithm of the token is not accepted")]
    WrongAlgorithm,
    /// The issuer has no such key, as far as this server has its keys.
    #[error("the key of the token is unknown")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the signature of the token is wrong")]
    WrongSignature,
    /// The claim `aud` is for another service.
    #[error("the token is for another audience")]
    WrongAudience,
    /// The claim `exp` is in the past.
    #[error("the token has expired")]
    Expired,
    /// The claim `nbf` is in the future.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// The keys of the issuer could not be read yet. The call can be tried again.
    #[error("the keys of the token's issuer could not be read yet")]
    KeysUnavailable,
}

impl AuthError {
    /// A stable name, for programs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoCredentials => "NO_CREDENTIALS",
            Self::Malformed => "MALFORMED_CREDENTIALS",
            Self::UnknownToken => "UNKNOWN_TOKEN",
            Self::MalformedToken => "MALFORMED_TOKEN",
            Self::UnknownIssuer => "UNKNOWN_ISSUER",
            Self::WrongAlgorithm => "WRONG_ALGORITHM",
            Self::UnknownKey => "UNKNOWN_KEY",
            Self::WrongSignature => "WRONG_SIGNATURE",
            Self::WrongAudience => "WRONG_AUDIENCE",
            Self::Expired => "TOKEN_EXPIRED",
            Self::NotYetValid => "TOKEN_NOT_YET_VALID",
            Self::KeysUnavailable => "KEYS_UNAVAILABLE",
        }
    }
}

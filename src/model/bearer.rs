//! Bearer tokens in `Authorization`.

/// The scheme, whose case does not matter (RFC 9110, 11.1).
const BEARER: &[u8] = b"bearer ";

/// The token of a value of `Authorization` (RFC 6750, 2.1); none for another scheme, or without a
/// token.
pub fn bearer_token(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(BEARER.len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(BEARER) && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_tokens_are_read_by_their_scheme() {
        let cases: [(&[u8], Option<&[u8]>); 7] = [
            (b"Bearer abc", Some(b"abc")),
            (b"bearer   abc ", Some(b"abc")),
            (b"Basic abc", None),
            (b"Bearer", None),
            (b"Bearer ", None),
            (b"abc", None),
            (b"", None),
        ];
        for (header, token) in cases {
            assert_eq!(bearer_token(header), token, "{header:?}");
        }
    }
}

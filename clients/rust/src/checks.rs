//! Limits that no operator can change. They are checked before a call, so that a mistake is the
//! same error whether the server is there or not.

use std::time::Duration;

use crate::{Error, ttl::to_wire};

const MAX_TAGS: usize = 32;
const MAX_TAG_BYTES: usize = 128;
const MAX_HOLD_OFF: Duration = Duration::from_secs(3600);

/// Checks each tag.
pub(crate) fn each_tag(tags: &[String]) -> Result<(), Error> {
    for (index, tag) in tags.iter().enumerate() {
        let bytes = tag.len();
        let wrong = match bytes {
            0 => "must not be empty".to_owned(),
            1..=MAX_TAG_BYTES => continue,
            _ => format!("is {bytes} bytes long, the limit is {MAX_TAG_BYTES}"),
        };
        return Err(Error::argument(&format!("tags[{index}]"), wrong));
    }
    Ok(())
}

/// Checks the tags of an entry.
pub(crate) fn tags(tags: &[String]) -> Result<(), Error> {
    if tags.len() > MAX_TAGS {
        let message = format!("has {} elements, the limit is {MAX_TAGS}", tags.len());
        return Err(Error::argument("tags", message));
    }
    each_tag(tags)
}

/// The message of a hold-off.
pub(crate) fn hold_off(hold_off: Option<Duration>) -> Result<Option<prost_types::Duration>, Error> {
    if hold_off.is_some_and(|hold_off| hold_off > MAX_HOLD_OFF) {
        return Err(Error::argument("hold_off", "at most 1 h is possible"));
    }
    Ok(hold_off.map(to_wire))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_tags_are_named() {
        let message = |given: &[String]| tags(given).err().map(|error| error.message().to_owned());
        let tag = |bytes: usize| "é".repeat(bytes / 2);
        assert_eq!(message(&[tag(2), tag(128)]), None);
        assert_eq!(message(&vec![tag(2); 32]), None);
        for (given, wanted) in [
            (vec![tag(2), tag(0)], "tags[1]: must not be empty"),
            (vec![tag(130)], "tags[0]: is 130 bytes long, the limit is 128"),
            (vec![tag(2); 33], "tags: has 33 elements, the limit is 32"),
        ] {
            assert_eq!(message(&given).as_deref(), Some(wanted));
        }
    }

    #[test]
    fn a_hold_off_is_an_hour_at_most() {
        assert!(hold_off(Some(MAX_HOLD_OFF)).is_ok() && hold_off(None).is_ok());
        assert!(hold_off(Some(MAX_HOLD_OFF + Duration::from_nanos(1))).is_err());
    }
}

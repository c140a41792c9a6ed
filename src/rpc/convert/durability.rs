//! Converts the durability of invalidations.

use super::Checked;
use crate::{cache::Durability, model::Violation, pb::v1 as pb};

/// The weakest durability that a request accepts.
pub(in crate::rpc) fn required_durability(required: i32) -> Checked<Durability> {
    match pb::Durability::try_from(required) {
        Ok(pb::Durability::Applied) => Ok(Durability::Applied),
        Ok(pb::Durability::Queued | pb::Durability::Unspecified) => Ok(Durability::Queued),
        Err(_) => {
            let description = format!("has no value {required}: use APPLIED or QUEUED");
            Err(Violation::new("required_durability", description))
        }
    }
}

pub(in crate::rpc) fn durability(durability: Durability) -> i32 {
    let durability = match durability {
        Durability::Applied => pb::Durability::Applied,
        Durability::Queued => pb::Durability::Queued,
    };
    durability.into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn queued_is_enough_unless_applied_is_required() {
        for (required, expected) in
            [(0, Durability::Queued), (1, Durability::Applied), (2, Durability::Queued)]
        {
            assert_eq!(required_durability(required).unwrap(), expected, "{required}");
        }
        assert_eq!(required_durability(3).unwrap_err().field(), "required_durability");
        assert_eq!(durability(Durability::Applied), pb::Durability::Applied as i32);
        assert_eq!(durability(Durability::Queued), pb::Durability::Queued as i32);
    }
}

//! Values that can be arguments of calls in keys.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    fmt::Display,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde_json::Value;

use super::forms::{KeyForm, number};
use crate::EncodeError;

const DAY: i64 = 24 * 3600;

type Formed = Result<KeyForm, EncodeError>;

/// A value that can be an argument of a call in a key. For a type of your own, return the form of
/// its id, or [`KeyForm::map`] of its fields.
pub trait ToKey {
    /// The canonical form: equal for equal values.
    ///
    /// # Errors
    ///
    /// The value cannot be part of a key, such as a number that is not finite.
    fn to_key(&self) -> Result<KeyForm, EncodeError>;

    /// The form of several values in a row: a list, or bytes.
    #[doc(hidden)]
    fn slice_to_key(items: &[Self]) -> Result<KeyForm, EncodeError>
    where
        Self: Sized,
    {
        list(items)
    }
}

fn list<'a, T: ToKey + 'a>(items: impl IntoIterator<Item = &'a T>) -> Formed {
    let forms = items.into_iter().enumerate();
    let forms = forms
        .map(|(index, item)| item.to_key().map_err(|error| error.within(format!("[{index}]"))));
    forms.collect::<Result<Vec<_>, _>>().map(KeyForm::list)
}

fn set<'a, T: ToKey + 'a>(items: impl IntoIterator<Item = &'a T>) -> Formed {
    let forms = items.into_iter().map(|item| item.to_key().map_err(|error| error.within("{}")));
    forms.collect::<Result<Vec<_>, _>>().map(KeyForm::set)
}

fn map<'a, N, T>(members: impl IntoIterator<Item = (&'a N, &'a T)>) -> Formed
where
    N: AsRef<str> + 'a,
    T: ToKey + 'a,
{
    let mut forms = Vec::new();
    for (name, member) in members {
        let form = member.to_key().map_err(|error| error.within(format!(".{}", name.as_ref())));
        forms.push((name, form?));
    }
    KeyForm::map(forms)
}

/// The date of a day since 1970-01-01 in the Gregorian calendar.
fn date(day: i64) -> String {
    // Years begin in March, so that a leap day is the last of its year.
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{day:02}", era * 400 + year_of_era + next_year)
}

impl ToKey for SystemTime {
    /// The date and time in UTC, to the microsecond.
    fn to_key(&self) -> Formed {
        let micros = |since: Duration| i128::try_from(since.as_micros()).unwrap_or(i128::MAX);
        let micros = match self.duration_since(UNIX_EPOCH) {
            Ok(since) => micros(since),
            // Times before 1970 are cut to the microsecond before them, as all others.
            Err(error) => -micros(error.duration() + Duration::from_nanos(999)),
        };
        let seconds = i64::try_from(micros.div_euclid(1_000_000)).unwrap_or_default();
        let fraction = micros.rem_euclid(1_000_000);
        let (day, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:06}") };
        let date = date(day);
        Ok(KeyForm::date_time(format!("{date}T{hour:02}:{minute:02}:{second:02}{fraction}+00:00")))
    }
}

macro_rules! integers {
    ($($kind:ty)*) => {
        $(impl ToKey for $kind {
            fn to_key(&self) -> Formed {
                Ok(KeyForm::json(self.to_string()))
            }
        })*
    };
}

integers!(i8 i16 i32 i64 i128 isize u16 u32 u64 u128 usize bool);

impl ToKey for u8 {
    fn to_key(&self) -> Formed {
        Ok(KeyForm::json(self.to_string()))
    }

    fn slice_to_key(items: &[Self]) -> Formed {
        Ok(KeyForm::bytes(items))
    }
}

fn float(value: impl Display + std::fmt::LowerExp, is_finite: bool, is_zero: bool) -> Formed {
    if !is_finite {
        return Err(EncodeError::new(format!("{value} is not a finite number")));
    }
    Ok(KeyForm::json(if is_zero { "0".to_owned() } else { number(&format!("{value:e}")) }))
}

impl ToKey for f32 {
    fn to_key(&self) -> Formed {
        float(self, self.is_finite(), *self == 0.0)
    }
}

impl ToKey for f64 {
    fn to_key(&self) -> Formed {
        float(self, self.is_finite(), *self == 0.0)
    }
}

impl ToKey for str {
    fn to_key(&self) -> Formed {
        Ok(KeyForm::text(self))
    }
}

impl ToKey for String {
    fn to_key(&self) -> Formed {
        Ok(KeyForm::text(self))
    }
}

impl ToKey for char {
    fn to_key(&self) -> Formed {
        Ok(KeyForm::text(self.encode_utf8(&mut [0; 4])))
    }
}

impl ToKey for () {
    fn to_key(&self) -> Formed {
        Ok(KeyForm::json("null".to_owned()))
    }
}

impl ToKey for Bytes {
    fn to_key(&self) -> Formed {
        Ok(KeyForm::bytes(self))
    }
}

impl<T: ToKey> ToKey for Option<T> {
    fn to_key(&self) -> Formed {
        self.as_ref().map_or_else(|| ().to_key(), ToKey::to_key)
    }
}

macro_rules! pointers {
    ($($pointer:ty)*) => {
        $(impl<T: ToKey + ?Sized> ToKey for $pointer {
            fn to_key(&self) -> Formed {
                (**self).to_key()
            }
        })*
    };
}

pointers!(&T Box<T> Arc<T> Rc<T>);

impl<T: ToKey + ToOwned + ?Sized> ToKey for Cow<'_, T> {
    fn to_key(&self) -> Formed {
        (**self).to_key()
    }
}

impl<T: ToKey> ToKey for [T] {
    fn to_key(&self) -> Formed {
        T::slice_to_key(self)
    }
}

impl<T: ToKey, const N: usize> ToKey for [T; N] {
    fn to_key(&self) -> Formed {
        T::slice_to_key(self)
    }
}

impl<T: ToKey> ToKey for Vec<T> {
    fn to_key(&self) -> Formed {
        T::slice_to_key(self)
    }
}

impl<T: ToKey> ToKey for VecDeque<T> {
    fn to_key(&self) -> Formed {
        list(self)
    }
}

impl<T: ToKey> ToKey for BTreeSet<T> {
    fn to_key(&self) -> Formed {
        set(self)
    }
}

impl<T: ToKey, S> ToKey for HashSet<T, S> {
    fn to_key(&self) -> Formed {
        set(self)
    }
}

impl<N: AsRef<str>, T: ToKey> ToKey for BTreeMap<N, T> {
    fn to_key(&self) -> Formed {
        map(self)
    }
}

impl<N: AsRef<str>, T: ToKey, S> ToKey for HashMap<N, T, S> {
    fn to_key(&self) -> Formed {
        map(self)
    }
}

macro_rules! tuples {
    ($(($($member:ident)+))*) => {
        $(impl<$($member: ToKey),+> ToKey for ($($member,)+) {
            #[allow(non_snake_case)]
            fn to_key(&self) -> Formed {
                let ($($member,)+) = self;
                let members: &[&dyn Fn() -> Formed] = &[$(&|| $member.to_key()),+];
                let forms = members.iter().enumerate().map(|(index, form)| {
                    form().map_err(|error| error.within(format!("[{index}]")))
                });
                forms.collect::<Result<Vec<_>, _>>().map(KeyForm::list)
            }
        })*
    };
}

tuples!((A)(A B)(A B C)(A B C D)(A B C D E)(A B C D E F));

impl ToKey for Value {
    fn to_key(&self) -> Formed {
        match self {
            Self::Null => ().to_key(),
            Self::Bool(value) => value.to_key(),
            Self::Number(number) => {
                let text = number.to_string();
                match text.parse::<i128>() {
                    Ok(integer) => integer.to_key(),
                    Err(_) => text.parse().unwrap_or(f64::NAN).to_key(),
                }
            }
            Self::String(text) => text.to_key(),
            Self::Array(items) => list(items),
            Self::Object(members) => map(members),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn json(value: &(impl ToKey + ?Sized)) -> String {
        value.to_key().unwrap().into_json()
    }

    #[test]
    fn types_have_the_forms_of_the_contract() {
        assert_eq!(json(&vec![1_u8, 2]), r#"{"$bytes":"AQI="}"#);
        assert_eq!(json(&[1_u8, 2, 3, 4]), r#"{"$bytes":"AQIDBA=="}"#);
        assert_eq!(json(&Bytes::from_static(b"\xff\xfe\xfd")), r#"{"$bytes":"//79"}"#);
        assert_eq!(json(&(1, "a", None::<u8>)), r#"[1,"a",null]"#);
        assert_eq!(json(&HashSet::from([2, 1, 10])), r#"{"$set":[1,10,2]}"#);
        assert_eq!(json(&HashMap::from([("b", 1), ("a", 2)])), r#"{"a":2,"b":1}"#);
        assert_eq!(
            json(&serde_json::json!({"b": [1.0, 2.5], "a": null})),
            r#"{"a":null,"b":[1,2.5]}"#
        );
        assert_eq!(json(&1.1_f32), "1.1");
        assert_eq!(json(&u64::MAX), "18446744073709551615");
        assert!(BTreeMap::from([("$set", 1)]).to_key().is_err());
    }

    #[test]
    fn numbers_are_those_of_rfc_8785() {
        for (number, form) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.5e21, "-1.5e+21"),
            (0.000_001, "0.000001"),
            (1e-7, "1e-7"),
            (123.456, "123.456"),
            (333_333_333.333_333_3, "333333333.3333333"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(json(&number), form);
        }
    }

    #[test]
    fn times_are_in_utc() {
        for (micros, form) in [
            (0, "1970-01-01T00:00:00+00:00"),
            (951_782_400_000_000, "2000-02-29T00:00:00+00:00"),
            (1_795_946_400_125_000, "2026-11-29T10:00:00.125000+00:00"),
            (-1, "1969-12-31T23:59:59.999999+00:00"),
            (-86_400_000_000, "1969-12-31T00:00:00+00:00"),
        ] {
            let since = Duration::from_micros(i64::unsigned_abs(micros));
            let time = if micros < 0 { UNIX_EPOCH - since } else { UNIX_EPOCH + since };
            assert_eq!(json(&time), format!(r#"{{"$datetime":"{form}"}}"#));
        }
    }
}

//! Keys of function calls, equal for equal calls in all languages.

mod arguments;
mod forms;
mod template;

use std::{borrow::Cow, collections::BTreeMap};

pub use arguments::ToKey;
pub use forms::KeyForm;

use self::template::Template;
use crate::{EncodeError, Error, Key};

/// Makes the key of a call from the name of the function and its arguments, as clients in other
/// languages do for their decorated functions. Arguments that are left out are not part of the
/// key, such as a connection to a database.
///
/// ```
/// use larder_client::CallKey;
///
/// # fn main() -> Result<(), larder_client::Error> {
/// let key = CallKey::of("report").arg("year", &2026).arg("full", &true).key()?;
/// assert_eq!((key.text(), &*key.params()["full"]), ("report", "true"));
///
/// let key = CallKey::template("user:{id}").arg("id", &7).arg("page", &2).key()?;
/// assert_eq!((key.text(), &*key.params()["page"]), ("user:7", "2"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct CallKey {
    name: Cow<'static, str>,
    is_template: bool,
    arguments: BTreeMap<String, Result<KeyForm, EncodeError>>,
}

impl CallKey {
    /// A call of a function of this name, which is the key. All arguments become params.
    pub fn of(function: impl Into<Cow<'static, str>>) -> Self {
        Self { name: function.into(), is_template: false, arguments: BTreeMap::new() }
    }

    /// A call whose key is a text with arguments in braces, such as `user:{id}`; `{{` and `}}`
    /// stand for braces. An argument that the text shows clearly is no param.
    pub fn template(template: impl Into<Cow<'static, str>>) -> Self {
        Self { is_template: true, ..Self::of(template) }
    }

    /// Adds an argument. All calls of a function give all of them, with their default values.
    pub fn arg<A: ToKey + ?Sized>(mut self, name: impl Into<String>, value: &A) -> Self {
        self.arguments.insert(name.into(), value.to_key());
        self
    }

    /// The key.
    ///
    /// # Errors
    ///
    /// Names the argument that cannot be part of a key, or the part of the template that is wrong.
    pub fn key(self) -> Result<Key<'static>, Error> {
        let mut forms = BTreeMap::new();
        for (name, form) in self.arguments {
            let form = form.map_err(|error| {
                Error::argument(&format!("{name}{}", error.place), error.message)
            })?;
            forms.insert(name, form);
        }
        let text = if self.is_template {
            let shown = Template::parse(&self.name)?.render(&forms)?;
            forms.retain(|name, _| !shown.clear.contains(name));
            shown.text
        } else {
            self.name.into_owned()
        };
        let params = forms.into_iter();
        Ok(params.fold(Key::new(text), |key, (name, form)| key.param(name, form.into_json())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_that_is_wrong_is_named() {
        let key = CallKey::of("f").arg("a", &1).arg("b", &vec![Some(f64::NAN)]).key();
        assert_eq!(key.unwrap_err().message(), "b[0]: NaN is not a finite number");
        for (template, part) in [("a:{", "brace"), ("a}", "brace"), ("{b}", "{b}")] {
            let error = CallKey::template(template).arg("a", &1).key().unwrap_err();
            assert!(error.message().contains(part), "{error}");
        }
    }

    #[test]
    fn braces_are_doubled() {
        let key = CallKey::template("{{{a}}}").arg("a", "x").key().unwrap();
        assert_eq!(key.text(), "{x}");
    }
}

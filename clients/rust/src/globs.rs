//! Patterns of keys, as the server matches them.

/// A pattern: `*`, `?`, `[a-z]`, `[^a-z]`, `[!a-z]` and `\`, over the whole key.
#[derive(Debug)]
pub(crate) struct Glob(Vec<Part>);

#[derive(Debug)]
enum Part {
    Any,
    One,
    Character(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// `None` if it is not a valid one.
    pub(crate) fn new(glob: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut rest = glob.chars();
        while let Some(character) = rest.next() {
            parts.push(match character {
                '*' => Part::Any,
                '?' => Part::One,
                '\\' => Part::Character(rest.next()?),
                '[' => class(&mut rest)?,
                plain => Part::Character(plain),
            });
        }
        Some(Self(parts))
    }

    /// Whether it matches the whole key.
    pub(crate) fn matches(&self, key: &str) -> bool {
        let key: Vec<char> = key.chars().collect();
        let (mut part, mut at) = (0, 0);
        // Where to go on if the characters after the last `*` do not fit.
        let mut retry: Option<(usize, usize)> = None;
        loop {
            match self.0.get(part) {
                Some(Part::Any) => {
                    retry = Some((part + 1, at));
                    part += 1;
                    continue;
                }
                Some(one) if key.get(at).is_some_and(|character| one.fits(*character)) => {
                    part += 1;
                    at += 1;
                    continue;
                }
                None if at == key.len() => return true,
                Some(_) | None => {}
            }
            match retry {
                Some((after, from)) if from < key.len() => {
                    retry = Some((after, from + 1));
                    (part, at) = (after, from + 1);
                }
                _ => return false,
            }
        }
    }
}

impl Part {
    fn fits(&self, character: char) -> bool {
        match self {
            Self::Any => false,
            Self::One => true,
            Self::Character(own) => *own == character,
            Self::Class { negated, ranges } => {
                let is_in = ranges.iter().any(|(low, high)| (*low..=*high).contains(&character));
                is_in != *negated
            }
        }
    }
}

/// The class whose `[` was read.
fn class(rest: &mut std::str::Chars<'_>) -> Option<Part> {
    let mut members: Vec<(char, bool)> = Vec::new();
    let negated = matches!(rest.clone().next(), Some('^' | '!'));
    if negated {
        rest.next();
    }
    loop {
        match rest.next()? {
            // A bracket that comes first is a member.
            ']' if !members.is_empty() => break,
            '\\' => members.push((rest.next()?, true)),
            member => members.push((member, false)),
        }
    }
    let mut ranges = Vec::new();
    let mut at = 0;
    while let Some((low, _)) = members.get(at).copied() {
        match (members.get(at + 1), members.get(at + 2)) {
            (Some(('-', false)), Some((high, _))) => {
                if *high < low {
                    return None;
                }
                ranges.push((low, *high));
                at += 3;
            }
            _ => {
                ranges.push((low, low));
                at += 1;
            }
        }
    }
    Some(Part::Class { negated, ranges })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_on_the_server() {
        for (glob, key, fits) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c*d", "acxcd", true),
            ("a*c", "ab", false),
            ("?", "é", true),
            ("?", "", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]", "b", false),
            ("[!a-c]", "d", true),
            ("[]]", "]", true),
            ("[a-]", "-", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("**a**", "a", true),
        ] {
            assert_eq!(Glob::new(glob).map(|it| it.matches(key)), Some(fits), "{glob} on {key}");
        }
    }

    #[test]
    fn invalid_patterns_are_none() {
        for glob in ["[a", "\\", "[z-a]", "[\\"] {
            assert!(Glob::new(glob).is_none(), "{glob}");
        }
    }
}

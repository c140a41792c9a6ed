//! The descriptors of proto files, by file name, symbol and extension.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};
use tonic::Code;
use tonic_reflection::server::Error;

/// Characters of an unknown name that its error repeats.
const MAX_SHOWN: usize = 200;

/// Index of a file in [`Descriptors::files`].
type FileIndex = usize;

/// All files, and what they declare.
#[derive(Default)]
pub(super) struct Descriptors {
    files: Vec<File>,
    by_name: HashMap<String, FileIndex>,
    symbols: HashMap<String, FileIndex>,
    /// Extensions of each message type, by their number.
    extensions: HashMap<String, BTreeMap<i32, FileIndex>>,
    services: Vec<String>,
}

struct File {
    /// As it was encoded by the compiler: decoding would lose custom options.
    encoded: Vec<u8>,
    imports: Vec<String>,
}

/// A question of a client.
pub(super) enum Question<'a> {
    File(&'a str),
    Symbol(&'a str),
    /// Extended type and number.
    Extension(&'a str, i32),
    ExtensionNumbers(&'a str),
    Services,
    Missing,
}

pub(super) enum Answer {
    /// The file asked for, and then the ones that it needs.
    Files(Vec<Vec<u8>>),
    ExtensionNumbers(String, Vec<i32>),
    Services(Vec<String>),
    Error(Code, String),
}

/// A `FileDescriptorSet` whose files are not decoded.
#[derive(Clone, PartialEq, Message)]
struct EncodedFiles {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

impl Descriptors {
    /// The files of encoded `FileDescriptorSet`s. Of files with the same name, the first is kept.
    pub(super) fn new(sets: &[&[u8]]) -> Result<Self, Error> {
        let mut descriptors = Self::default();
        for set in sets {
            for encoded in EncodedFiles::decode(*set)?.file {
                descriptors.add(encoded)?;
            }
        }
        descriptors.services.sort_unstable();
        Ok(descriptors)
    }

    fn add(&mut self, encoded: Vec<u8>) -> Result<(), Error> {
        let file = FileDescriptorProto::decode(encoded.as_slice())?;
        if self.by_name.contains_key(file.name()) {
            return Ok(());
        }
        let index = self.files.len();
        self.by_name.insert(file.name().to_owned(), index);
        let package = file.package();
        for message in &file.message_type {
            self.add_message(index, package, message);
        }
        for one in &file.enum_type {
            self.add_enum(index, package, one);
        }
        self.add_extensions(index, package, &file.extension);
        for service in &file.service {
            let name = self.add_symbol(index, package, service.name());
            for method in &service.method {
                self.add_symbol(index, &name, method.name());
            }
            self.services.push(name);
        }
        self.files.push(File { encoded, imports: file.dependency });
        Ok(())
    }

    fn add_message(&mut self, file: FileIndex, scope: &str, message: &DescriptorProto) {
        let name = self.add_symbol(file, scope, message.name());
        self.extensions.entry(name.clone()).or_default();
        let fields = message.field.iter().map(FieldDescriptorProto::name);
        let groups = message.oneof_decl.iter().map(|group| group.name());
        for member in fields.chain(groups) {
            self.add_symbol(file, &name, member);
        }
        for nested in &message.nested_type {
            self.add_message(file, &name, nested);
        }
        for nested in &message.enum_type {
            self.add_enum(file, &name, nested);
        }
        self.add_extensions(file, &name, &message.extension);
    }

    fn add_enum(&mut self, file: FileIndex, scope: &str, one: &EnumDescriptorProto) {
        let name = self.add_symbol(file, scope, one.name());
        for value in &one.value {
            // By the rules of protobuf a value is in the scope of its enum. Some clients ask for it
            // as a member of the enum.
            self.add_symbol(file, scope, value.name());
            self.add_symbol(file, &name, value.name());
        }
    }

    fn add_extensions(&mut self, file: FileIndex, scope: &str, fields: &[FieldDescriptorProto]) {
        for field in fields {
            self.add_symbol(file, scope, field.name());
            let extended = field.extendee().trim_start_matches('.').to_owned();
            self.extensions.entry(extended).or_default().insert(field.number(), file);
        }
    }

    /// Returns the full name.
    fn add_symbol(&mut self, file: FileIndex, scope: &str, name: &str) -> String {
        let full = if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") };
        self.symbols.insert(full.clone(), file);
        full
    }

    /// Answers a question. `sent` has the files that its stream has sent already.
    pub(super) fn answer(&self, question: Question<'_>, sent: &mut HashSet<FileIndex>) -> Answer {
        let (kind, name, file) = match question {
            Question::File(name) => ("file", name, self.by_name.get(name)),
            Question::Symbol(name) => ("symbol", name, self.symbols.get(name)),
            Question::Extension(name, number) => {
                let extensions = self.extensions.get(name);
                ("extension of", name, extensions.and_then(|numbers| numbers.get(&number)))
            }
            Question::ExtensionNumbers(name) => {
                return match self.extensions.get(name) {
                    Some(numbers) => {
                        Answer::ExtensionNumbers(name.to_owned(), numbers.keys().copied().collect())
                    }
                    None => unknown("message type", name),
                };
            }
            Question::Services => return Answer::Services(self.services.clone()),
            Question::Missing => {
                let message = "the request has no known message_request".to_owned();
                return Answer::Error(Code::InvalidArgument, message);
            }
        };
        file.map_or_else(
            || unknown(kind, name),
            |file| Answer::Files(self.with_imports(*file, sent)),
        )
    }

    /// A file, and all of its direct and indirect imports that were not sent.
    fn with_imports(&self, file: FileIndex, sent: &mut HashSet<FileIndex>) -> Vec<Vec<u8>> {
        sent.insert(file);
        let (mut files, mut queue) = (Vec::new(), VecDeque::from([file]));
        while let Some(file) = queue.pop_front().and_then(|file| self.files.get(file)) {
            files.push(file.encoded.clone());
            let imports = file.imports.iter().filter_map(|name| self.by_name.get(name));
            queue.extend(imports.filter(|import| sent.insert(**import)));
        }
        files
    }
}

#[cold]
fn unknown(kind: &str, name: &str) -> Answer {
    let shown: String = name.chars().take(MAX_SHOWN).collect();
    Answer::Error(Code::NotFound, format!("no {kind} {shown:?}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prost_types::{EnumValueDescriptorProto, FileDescriptorSet};

    use super::*;

    fn message(name: &str, nested: Vec<DescriptorProto>) -> DescriptorProto {
        DescriptorProto {
            name: Some(name.to_owned()),
            nested_type: nested,
            ..DescriptorProto::default()
        }
    }

    fn file(name: &str, imports: &[&str]) -> FileDescriptorProto {
        FileDescriptorProto {
            name: Some(name.to_owned()),
            package: Some("p".to_owned()),
            dependency: imports.iter().map(|import| (*import).to_owned()).collect(),
            ..FileDescriptorProto::default()
        }
    }

    /// `a` imports `b` and `c`, and both of them import `d`.
    fn descriptors() -> Descriptors {
        let value = EnumValueDescriptorProto { name: Some("V".to_owned()), ..Default::default() };
        let one = EnumDescriptorProto {
            name: Some("E".to_owned()),
            value: vec![value],
            ..EnumDescriptorProto::default()
        };
        let extension = FieldDescriptorProto {
            name: Some("x".to_owned()),
            extendee: Some(".p.M".to_owned()),
            number: Some(7),
            ..FieldDescriptorProto::default()
        };
        let files = [
            FileDescriptorProto { extension: vec![extension], ..file("a", &["b", "c", "absent"]) },
            file("b", &["d"]),
            FileDescriptorProto { enum_type: vec![one], ..file("c", &["d"]) },
            FileDescriptorProto {
                message_type: vec![message("M", vec![message("N", Vec::new())])],
                ..file("d", &[])
            },
        ];
        let set = FileDescriptorSet { file: files.into() }.encode_to_vec();
        Descriptors::new(&[&set, &set]).unwrap()
    }

    fn names(answer: Answer) -> Vec<String> {
        let Answer::Files(files) = answer else { panic!("no files") };
        let name = |file: &Vec<u8>| {
            FileDescriptorProto::decode(file.as_slice()).unwrap().name().to_owned()
        };
        files.iter().map(name).collect()
    }

    #[test]
    fn a_file_comes_with_its_imports_once_per_stream() {
        let descriptors = descriptors();
        let mut sent = HashSet::new();
        let answer = descriptors.answer(Question::File("c"), &mut sent);
        assert_eq!(names(answer), ["c", "d"]);
        let answer = descriptors.answer(Question::File("a"), &mut sent);
        assert_eq!(names(answer), ["a", "b"]);
        // The file that is asked for is sent again.
        assert_eq!(names(descriptors.answer(Question::File("a"), &mut sent)), ["a"]);
        let answer = descriptors.answer(Question::File("a"), &mut HashSet::new());
        assert_eq!(names(answer), ["a", "b", "c", "d"]);
    }

    #[test]
    fn symbols_and_extensions_lead_to_their_file() {
        let descriptors = descriptors();
        let of = |question| names(descriptors.answer(question, &mut HashSet::new())).remove(0);
        for (symbol, file) in [("p.M.N", "d"), ("p.E", "c"), ("p.V", "c"), ("p.E.V", "c")] {
            assert_eq!(of(Question::Symbol(symbol)), file, "{symbol}");
        }
        assert_eq!(of(Question::Extension("p.M", 7)), "a");
        let numbers = |name| {
            let answer = descriptors.answer(Question::ExtensionNumbers(name), &mut HashSet::new());
            let Answer::ExtensionNumbers(name, numbers) = answer else { return None };
            Some((name, numbers))
        };
        assert_eq!(numbers("p.M"), Some(("p.M".to_owned(), vec![7])));
        assert_eq!(numbers("p.M.N"), Some(("p.M.N".to_owned(), Vec::new())));
        assert_eq!(numbers("p.E"), None);
    }

    #[test]
    fn unknown_names_are_not_found_and_repeated_shortly() {
        let descriptors = descriptors();
        let long = "x".repeat(10_000);
        for question in [
            Question::File(&long),
            Question::Symbol("p"),
            Question::Symbol("M"),
            Question::Extension("p.M", 8),
            Question::Extension("p.X", 7),
            Question::ExtensionNumbers("p.X"),
        ] {
            let answer = descriptors.answer(question, &mut HashSet::new());
            let Answer::Error(code, message) = answer else { panic!("found") };
            assert_eq!(code, Code::NotFound, "{message}");
            assert!(message.len() < 300, "{message}");
        }
        let answer = descriptors.answer(Question::Missing, &mut HashSet::new());
        assert!(matches!(answer, Answer::Error(Code::InvalidArgument, _)));
    }
}

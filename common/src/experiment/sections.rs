//! How the table of keys is written: a section or a group of keys becomes a type with a field for each, a reader, and its
//! description.

/// `key: Type = default;`, without `= default` for a key that must be given, and with
/// `, else "words";` where the default is worked out from other keys. `..name: Group;` after them for keys that several
/// sections have.
macro_rules! sections {
    ($(
        $(#[doc = $doc:literal])+
        $path:literal $name:ident {
            $( $(#[doc = $key_doc:literal])+ $key:ident: $kind:ty $(= $default:expr)? $(, else $words:literal)?; )*
            $( ..$group:ident: $members:ty; )?
        }
    )+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, Debug)]
            #[allow(dead_code, reason = "a key with a single choice is only checked; not every section asks for its line")]
            pub(in crate::experiment) struct $name {
                /// Line of the section's header; none where the file has no such section.
                pub line: Option<usize>,
                $( $(#[doc = $key_doc])+ pub $key: Field<$kind>, )*
                $( pub $group: $members, )?
            }

            impl Section for $name {
                const PATH: &'static str = $path;

                fn read(table: &Table<'_>) -> Option<Self> {
                    $( let $key = table.field::<$kind>(stringify!($key), sections!(@default $($default)?)); )*
                    $( let $group = <$members>::read(table); )?
                    Some(Self { line: table.line(), $( $key: $key?, )* $( $group: $group?, )? })
                }

                fn describe() -> Description {
                    Description {
                        path: $path,
                        doc: concat!($($doc, "\n"),+),
                        keys: [
                            $( sections!(@description $key, $kind, ($($key_doc),+), $($default)? $(; $words)?), )*
                        ]
                        .into_iter()
                        $( .chain(<$members>::describe()) )?
                        .collect(),
                    }
                }
            }
        )+

        /// The sections of this file, in the order of the reference.
        pub(in crate::experiment) fn sections() -> Vec<Description> {
            vec![$( $name::describe() ),+]
        }
    };
    (@description $key:ident, $kind:ty, ($($doc:literal),+), $($default:expr)? $(; $words:literal)?) => {
        KeyDescription {
            name: stringify!($key),
            kind: <$kind>::kind(),
            default: sections!(@words $kind, $($default)? $(; $words)?),
            doc: concat!($($doc, "\n"),+),
        }
    };
    (@default) => { None };
    (@default $default:expr) => { Some($default) };
    (@words $kind:ty, $default:expr; $words:literal) => { Default::Words($words) };
    (@words $kind:ty, $default:expr) => { Default::Value(<$kind>::show(&$default)) };
    (@words $kind:ty,) => { Default::Required };
}

/// Keys that several sections have, written as in [`sections`].
macro_rules! group {
    (
        $(#[doc = $doc:literal])+
        $name:ident {
            $( $(#[doc = $key_doc:literal])+ $key:ident: $kind:ty $(= $default:expr)? $(, else $words:literal)?; )*
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug)]
        pub(in crate::experiment) struct $name {
            $( $(#[doc = $key_doc])+ pub $key: Field<$kind>, )*
        }

        impl $name {
            pub(in crate::experiment) fn read(table: &Table<'_>) -> Option<Self> {
                $( let $key = table.field::<$kind>(stringify!($key), sections!(@default $($default)?)); )*
                Some(Self { $( $key: $key? ),* })
            }

            pub(in crate::experiment) fn describe() -> Vec<KeyDescription> {
                vec![$( sections!(@description $key, $kind, ($($key_doc),+), $($default)? $(; $words)?) ),*]
            }
        }
    };
}

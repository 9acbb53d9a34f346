//! Kinds of user data, and how cloud-init tells them apart.

/// A kind of user data that cloud-init handles (its manual, "User data formats").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Settings.
    CloudConfig,
    /// A script, run late at the first boot.
    Script,
    /// A script, run late at each boot.
    ScriptPerBoot,
    /// A script, run early at each boot.
    Boothook,
    /// Addresses of more.
    Include,
    /// Python that handles types of its own.
    PartHandler,
    /// A list of parts.
    Archive,
    /// JSON patches of settings.
    JsonPatch,
    /// A template of any of these.
    Template,
}

/// How each begins, in lower case; those that begin with another one come before it.
pub const BEGINNINGS: [(&str, Kind); 9] = [
    ("## template: jinja", Kind::Template),
    ("#cloud-config-archive", Kind::Archive),
    ("#cloud-config-jsonp", Kind::JsonPatch),
    ("#cloud-boothook", Kind::Boothook),
    ("#include-once", Kind::Include),
    ("#cloud-config", Kind::CloudConfig),
    ("#part-handler", Kind::PartHandler),
    ("#include", Kind::Include),
    ("#!", Kind::Script),
];

/// The types of parts of MIME messages.
const TYPES: [(&str, Kind); 12] = [
    ("text/cloud-config", Kind::CloudConfig),
    ("text/cloud-config-archive", Kind::Archive),
    ("text/cloud-config-jsonp", Kind::JsonPatch),
    ("text/cloud-boothook", Kind::Boothook),
    ("text/x-include-url", Kind::Include),
    ("text/x-include-once-url", Kind::Include),
    ("text/x-shellscript", Kind::Script),
    ("text/x-shellscript-per-instance", Kind::Script),
    ("text/x-shellscript-per-once", Kind::Script),
    ("text/x-shellscript-per-boot", Kind::ScriptPerBoot),
    ("text/part-handler", Kind::PartHandler),
    ("text/jinja2", Kind::Template),
];

impl Kind {
    /// The kind of what begins like this; blanks before it and capital letters change nothing.
    pub fn of(bytes: &[u8]) -> Option<Kind> {
        let text = bytes.trim_ascii_start();
        let begins = |beginning: &str| {
            text.get(..beginning.len()).is_some_and(|head| head.eq_ignore_ascii_case(beginning.as_bytes()))
        };
        BEGINNINGS.iter().find(|(beginning, _)| begins(beginning)).map(|(_, kind)| *kind)
    }

    /// The kind of a part with this type.
    pub fn of_type(name: &str) -> Option<Kind> {
        let name = name.trim().to_ascii_lowercase();
        TYPES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// What it is, for a person.
    pub fn words(self) -> &'static str {
        match self {
            Kind::CloudConfig => "a cloud-config document",
            Kind::Script => "a script",
            Kind::ScriptPerBoot => "a script for each boot",
            Kind::Boothook => "a boothook",
            Kind::Include => "a list of addresses (#include)",
            Kind::PartHandler => "a part handler",
            Kind::Archive => "a cloud-config archive",
            Kind::JsonPatch => "a JSON patch (#cloud-config-jsonp)",
            Kind::Template => "a jinja template",
        }
    }
}

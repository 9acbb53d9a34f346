//! Addresses without what nobody else may know.

use std::borrow::Cow;

/// What an address is shown without: a user and a password before its host, and what is behind `?`, where signatures and
/// tokens stand. Text that is no address is as it was.
pub fn without_login(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else { return Cow::Borrowed(text) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // A password with a slash in it ends later than the host should begin.
    let (authority, path) = match rest.rfind('@').filter(|at| *at > end && authority.contains(':')) {
        Some(at) if !rest[..at].contains(['?', '#']) => {
            let end = rest[at..].find(['/', '?', '#']).map_or(rest.len(), |end| at + end);
            rest.split_at(end)
        }
        _ => (authority, path),
    };
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (path, query) = path.split_once('?').map_or((path, ""), |(path, _)| (path, "?..."));
    if host.len() == authority.len() && query.is_empty() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{scheme}://{host}{path}{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_sees_a_password() {
        for (text, shown) in [
            ("https://a.example/x.raw", "https://a.example/x.raw"),
            ("https://me:hunter2@a.example/x.raw", "https://a.example/x.raw"),
            ("https://me@a.example:8080/x", "https://a.example:8080/x"),
            ("https://me:hun@ter2@a.example", "https://a.example"),
            ("https://me:hunt/er2@a.example/x", "https://a.example/x"),
            ("https://me:hunter2@a.example:99999/x", "https://a.example:99999/x"),
            ("https://a.example/x?sig=hunter2", "https://a.example/x?..."),
            ("https://a.example/team@2/x", "https://a.example/team@2/x"),
            ("debian/12", "debian/12"),
            ("oci:a.example/b@sha256:00", "oci:a.example/b@sha256:00"),
            ("", ""),
        ] {
            assert_eq!(without_login(text), shown, "{text}");
        }
    }
}

//! Which redirects are followed.

use reqwest::Url;
use reqwest::redirect::Policy;

/// Redirects that one request may take.
const REDIRECTS_MAX: usize = 10;

/// Why a redirect was not followed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RedirectRefused {
    #[error("the server sends us on more than {REDIRECTS_MAX} times")]
    TooMany,
    #[error("the server sends us from https to {0}, which anybody on the way could change; that is refused")]
    Insecure(String),
    #[error("the server sends us to {0}, which is neither http nor https")]
    Scheme(String),
}

/// Ten redirects, and none from https to anything else.
pub(crate) fn policy() -> Policy {
    Policy::custom(|attempt| match judge(attempt.previous(), attempt.url()) {
        Ok(()) => attempt.follow(),
        Err(refused) => attempt.error(refused),
    })
}

fn judge(previous: &[Url], next: &Url) -> Result<(), RedirectRefused> {
    let was_secure = previous.iter().any(|url| url.scheme() == "https");
    match next.scheme() {
        _ if previous.len() > REDIRECTS_MAX => Err(RedirectRefused::TooMany),
        "https" => Ok(()),
        "http" if !was_secure => Ok(()),
        "http" => Err(RedirectRefused::Insecure(super::error::shown(next))),
        _ => Err(RedirectRefused::Scheme(super::error::shown(next))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_is_never_lost_on_the_way() {
        let url = |text: &str| Url::parse(text).unwrap();
        let (plain, secure) = (url("http://a.example/"), url("https://a.example/"));
        assert_eq!(judge(std::slice::from_ref(&plain), &secure), Ok(()));
        assert_eq!(judge(std::slice::from_ref(&plain), &plain), Ok(()));
        assert!(matches!(judge(&[plain.clone(), secure.clone()], &plain), Err(RedirectRefused::Insecure(_))));
        assert!(matches!(
            judge(std::slice::from_ref(&secure), &url("ftp://a.example/")),
            Err(RedirectRefused::Scheme(_))
        ));
        assert_eq!(judge(&vec![secure.clone(); 11], &secure), Err(RedirectRefused::TooMany));
    }
}

//! Public keys as `authorized_keys` has them (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"), checked by their form.
//!
//! Nothing of what is refused is repeated in a message: it may be a private key, or a password in the wrong file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Why a file or a value holds no public keys.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It is the secret half.
    #[error(
        "this is a private key, which nobody else may have; give the public key, whose file ends with .pub"
    )]
    Private,
    /// It is public, in a form that is not sshd's.
    #[error(
        "this is a public key in another form; 'ssh-keygen -i -f FILE' turns it into the line that is wanted"
    )]
    OtherForm,
    /// It is something else.
    #[error("line {0} is not an SSH public key: a line such as 'ssh-ed25519 AAAA... name'")]
    Line(usize),
    /// There is nothing in it.
    #[error("there is no SSH public key in it")]
    Empty,
}

/// The keys in `bytes`, a line each; comments and empty lines are left out.
///
/// # Errors
/// A line is no public key.
pub fn parse(bytes: &[u8]) -> Result<Vec<String>, KeyFault> {
    if is_private(bytes) {
        return Err(KeyFault::Private);
    }
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}');
    if text.contains("BEGIN SSH2 PUBLIC KEY")
        || text.contains("BEGIN PUBLIC KEY")
        || text.contains("BEGIN RSA PUBLIC KEY")
    {
        return Err(KeyFault::OtherForm);
    }
    let mut keys = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !is_key(line) {
            return Err(KeyFault::Line(index + 1));
        }
        keys.push(line.to_owned());
    }
    if keys.is_empty() { Err(KeyFault::Empty) } else { Ok(keys) }
}

/// How private keys look, in any of their forms: PEM, OpenSSH, SSH 1 and 2, PuTTY, age; and base64 of the first two.
const PRIVATE_MARKS: [&str; 6] = [
    "PRIVATE KEY",
    "PUTTY-USER-KEY-FILE-",
    "AGE-SECRET-KEY-",
    // "openssh-key-v1" and "-----BEGIN", in the upper case of their base64.
    "B3BLBNNZAC1RZXKTDJE",
    "LS0TLS1CRUDJTI",
    "\"KTY\"",
];
/// A DER sequence whose length takes two bytes: keys of all kinds begin like this.
const DER: [u8; 2] = [0x30, 0x82];

/// Whether this holds a private key, whatever it was meant to be.
pub fn is_private(bytes: &[u8]) -> bool {
    // UTF-16 has a NUL beside each letter.
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    let text = String::from_utf8_lossy(&text).to_ascii_uppercase();
    bytes.starts_with(&DER) || PRIVATE_MARKS.iter().any(|mark| text.contains(mark))
}

/// Options perhaps, a kind, base64, perhaps a comment.
fn is_key(line: &str) -> bool {
    let Some((first, rest)) = word(line) else { return false };
    if is_known(first) {
        return has_form(first, rest);
    }
    word(rest).is_some_and(|(kind, rest)| is_known(kind) && has_form(kind, rest))
}

/// The first word, in which blanks may stand between double quotes, and what is behind it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let (mut quoted, mut escaped) = (false, false);
    let end = text.find(|c: char| {
        match c {
            '"' if !escaped => quoted = !quoted,
            ' ' | '\t' if !quoted => return true,
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        false
    });
    let end = end.unwrap_or(text.len());
    (end > 0 && !quoted).then(|| text.split_at(end))
}

/// Behind the name of a kind of certificate (OpenSSH's PROTOCOL.certkeys).
const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// What a kind's key consists of, behind the name of the kind (RFC 4253, 6.6; RFC 5656, 3.1; RFC 8709, 4; OpenSSH's
/// PROTOCOL.u2f): so many strings, and of which length the first is where that is fixed.
fn parts(kind: &str) -> Option<(usize, Option<usize>)> {
    Some(match kind {
        "ssh-ed25519" => (1, Some(32)),
        "ssh-rsa" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521" => (2, None),
        "ssh-dss" => (4, None),
        "sk-ssh-ed25519" => (2, Some(32)),
        "sk-ecdsa-sha2-nistp256" => (3, None),
        _ => return None,
    })
}

/// The kind without what says that it is a certificate or on a token, and whether it is a certificate.
fn plain_kind(kind: &str) -> (&str, bool) {
    match kind.strip_suffix(CERTIFICATE) {
        Some(plain) => (plain, true),
        None if kind.starts_with("sk-") => (kind.strip_suffix("@openssh.com").unwrap_or(""), false),
        None => (kind, false),
    }
}

fn is_known(kind: &str) -> bool {
    parts(plain_kind(kind).0).is_some()
}

/// Whether base64 comes next, of a key of this kind.
fn has_form(kind: &str, rest: &str) -> bool {
    let Some(bytes) = rest.split_whitespace().next().and_then(|word| STANDARD.decode(word).ok()) else {
        return false;
    };
    let (plain, is_certificate) = plain_kind(kind);
    let Some((count, first_bytes)) = parts(plain) else { return false };
    let mut left = &bytes[..];
    let named = string(&mut left) == Some(kind.as_bytes());
    let nonce = !is_certificate || string(&mut left).is_some();
    let first = string(&mut left)
        .is_some_and(|part| !part.is_empty() && first_bytes.is_none_or(|length| part.len() == length));
    let others = (1..count).all(|_| string(&mut left).is_some());
    let end = if is_certificate { certificate_end(&mut left).is_some() } else { true };
    named && nonce && first && others && end && left.is_empty()
}

/// A certificate behind its key: serial number, type, identifier, names, two times, options, extensions, what is
/// reserved, who signed, signature.
fn certificate_end(left: &mut &[u8]) -> Option<()> {
    take(left, 8 + 4)?;
    string(left)?;
    string(left)?;
    take(left, 8 + 8)?;
    (0..5).try_for_each(|_| string(left).map(drop))
}

/// A length in four bytes, and so many bytes (RFC 4251, 5).
fn string<'a>(left: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = take(left, 4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    take(left, usize::try_from(length).ok()?)
}

fn take<'a>(left: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = left.split_at_checked(count)?;
    *left = rest;
    Some(taken)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A public key of no one's.
    pub(crate) fn example(comment: &str) -> String {
        key("ssh-ed25519", &[&[7; 32]], comment)
    }

    fn key(kind: &str, strings: &[&[u8]], comment: &str) -> String {
        let mut bytes = Vec::new();
        for part in [kind.as_bytes()].iter().chain(strings) {
            bytes.extend((part.len() as u32).to_be_bytes());
            bytes.extend(*part);
        }
        format!("{kind} {} {comment}", STANDARD.encode(bytes)).trim_end().to_owned()
    }

    fn certificate() -> String {
        let mut bytes = Vec::new();
        let string = |bytes: &mut Vec<u8>, part: &[u8]| {
            bytes.extend((part.len() as u32).to_be_bytes());
            bytes.extend(part);
        };
        let kind = "ssh-ed25519-cert-v01@openssh.com";
        for part in [kind.as_bytes(), &[1; 32], &[2; 32]] {
            string(&mut bytes, part);
        }
        bytes.extend([0; 12]);
        string(&mut bytes, b"id");
        string(&mut bytes, b"");
        bytes.extend([0; 16]);
        for part in [&b""[..], b"", b"", &[3; 51], &[4; 83]] {
            string(&mut bytes, part);
        }
        format!("{kind} {}", STANDARD.encode(bytes))
    }

    #[test]
    fn keys_in_all_their_forms_are_taken() {
        let plain = example("ann@host");
        let lines = [
            plain.clone(),
            example(""),
            format!("restrict,command=\"echo \\\"a b\\\"\",no-pty {plain}"),
            format!("from=\"192.0.2.0/24,!192.0.2.9\" {plain} with more words"),
            format!("cert-authority\t{plain}"),
            key("ssh-rsa", &[&[1, 0, 1], &[5; 257]], "rsa"),
            key("ssh-dss", &[&[1], &[2], &[3], &[4]], ""),
            key("ecdsa-sha2-nistp256", &[b"nistp256", &[4; 65]], ""),
            key("ecdsa-sha2-nistp521", &[b"nistp521", &[4; 133]], ""),
            key("sk-ssh-ed25519@openssh.com", &[&[7; 32], b"ssh:"], ""),
            key("sk-ecdsa-sha2-nistp256@openssh.com", &[b"nistp256", &[4; 65], b"ssh:"], ""),
            certificate(),
        ];
        for line in &lines {
            assert_eq!(parse(line.as_bytes()), Ok(vec![line.clone()]));
        }
        let file = format!("\u{feff}# mine\r\n\r\n  {}\r\n# more\n{}\n\n", lines[0], lines[2]);
        assert_eq!(parse(file.as_bytes()), Ok(vec![lines[0].clone(), lines[2].clone()]));
    }

    #[test]
    fn private_keys_are_known_in_all_their_forms() {
        let forms = [
            "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n",
            "-----BEGIN EC PRIVATE KEY-----\n",
            "-----BEGIN PRIVATE KEY-----\n",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n",
            "\r\n  -----begin openssh private key-----\n",
            "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: aes256-cbc\n",
            "PuTTY-User-Key-File-2: ssh-rsa\n",
            "SSH PRIVATE KEY FILE FORMAT 1.1\n",
            "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n",
            "AGE-SECRET-KEY-1QQ",
            "b3BlbnNzaC1rZXktdjEAAAAABG5vbmU",
            "{\"kty\": \"OKP\", \"d\": \"x\"}",
        ];
        for form in forms {
            assert_eq!(parse(form.as_bytes()), Err(KeyFault::Private), "{form}");
            let both = format!("{}\n{form}", example(""));
            assert_eq!(parse(both.as_bytes()), Err(KeyFault::Private), "{form}");
        }
        let wide: Vec<u8> = forms[0].encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(parse(&wide), Err(KeyFault::Private));
        assert_eq!(parse(&[0x30, 0x82, 0x04, 0xa4, 2]), Err(KeyFault::Private));
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        let short = key("ssh-ed25519", &[&[7; 31]], "");
        let other = key("ssh-rsa", &[&[7; 32]], "");
        let lying = example("").replace("ssh-ed25519", "ssh-rsa");
        let open = format!("command=\"x {}", example(""));
        for text in [
            "hunter2",
            "ssh-ed25519",
            "ssh-ed25519 AAAA me",
            "ssh-ed25519 hunter2!",
            &short,
            &other,
            &lying,
            &open,
        ] {
            let fault = parse(text.as_bytes()).unwrap_err();
            assert_eq!(fault, KeyFault::Line(1), "{text}");
            assert!(!fault.to_string().contains("hunter2"));
        }
        assert_eq!(parse(format!("{}\nhunter2\n", example("")).as_bytes()), Err(KeyFault::Line(2)));
        assert_eq!(parse(b"\xff\xfe\x00"), Err(KeyFault::Line(1)));
        assert_eq!(parse(b"---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n"), Err(KeyFault::OtherForm));
        for text in ["", "\n\n", "# a comment\n"] {
            assert_eq!(parse(text.as_bytes()), Err(KeyFault::Empty));
        }
        // All that can be cut off.
        let whole = certificate();
        for length in 0..whole.len() {
            assert!(parse(&whole.as_bytes()[..length]).is_err(), "{length}");
        }
    }
}

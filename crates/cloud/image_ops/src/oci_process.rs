//! What an image's configuration says of its process, as the guest's first process wants it.

use oci_image::OciConfig;
use oci_init::{Process, StopSignal};

use crate::ImageError;

/// What runs where an image names neither entry point nor command.
const SHELL: &str = "/bin/sh";

/// The process that a container of the image would be.
///
/// # Errors
/// The configuration says what no process can be started with.
pub(crate) fn process(config: &OciConfig) -> Result<Process, ImageError> {
    let OciConfig { env, entrypoint, cmd, user, working_dir, volumes, stop_signal, title: _ } = config;
    let refused = |what: &str| Err(ImageError::Refused(format!("the image's configuration {what}")));
    let mut args: Vec<String> = entrypoint.iter().chain(cmd).cloned().collect();
    if args.is_empty() {
        args.push(SHELL.to_owned());
    }
    let has_nul = |word: &String| word.contains('\0');
    if [&args, env, volumes].into_iter().flatten().chain([user, working_dir]).any(has_nul) {
        return refused("has a word with a NUL character in it, which no process can be given");
    }
    if env.iter().any(|entry| entry.is_empty() || entry.starts_with('=')) {
        return refused("sets a variable that has no name (an entry of Env is empty or begins with '=')");
    }
    if !working_dir.is_empty() && !working_dir.starts_with('/') {
        return refused("has a working folder that does not begin with '/'");
    }
    let stop_signal = match stop_signal.as_str() {
        "" => StopSignal::default(),
        text => match StopSignal::parse(text) {
            Some(signal) => signal,
            None => return refused("names a StopSignal that is no signal of Linux"),
        },
    };
    Ok(Process {
        args,
        env: env.clone(),
        user: user.clone(),
        cwd: working_dir.clone(),
        folders: volumes.clone(),
        stop_signal,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn entry_point_and_command_become_one_list() {
        let cases: &[(&[&str], &[&str], &[&str])] = &[
            (&[], &[], &["/bin/sh"]),
            (&[], &["id", "-u"], &["id", "-u"]),
            (&["/entry"], &[], &["/entry"]),
            (
                &["/entry", "a b"],
                &["", "it's", "x\ny", "\"", "$HOME"],
                &["/entry", "a b", "", "it's", "x\ny", "\"", "$HOME"],
            ),
            (&["A=b"], &["c"], &["A=b", "c"]),
            (&[""], &[], &[""]),
        ];
        for (entrypoint, cmd, args) in cases {
            let config = OciConfig { entrypoint: words(entrypoint), cmd: words(cmd), ..OciConfig::default() };
            assert_eq!(process(&config).unwrap().args, words(args));
        }
    }

    #[test]
    fn the_rest_is_handed_on() {
        let config = OciConfig {
            env: words(&["A=b", "B", "A=c"]),
            user: "ann:4".to_owned(),
            working_dir: "/srv/a b".to_owned(),
            volumes: words(&["/data"]),
            stop_signal: "SIGRTMIN+3".to_owned(),
            ..OciConfig::default()
        };
        let found = process(&config).unwrap();
        assert_eq!((&found.env, &found.folders), (&config.env, &config.volumes));
        assert_eq!((&*found.user, &*found.cwd, found.stop_signal.number()), ("ann:4", "/srv/a b", 37));
        assert_eq!(process(&OciConfig::default()).unwrap().stop_signal.number(), 15);
    }

    #[test]
    fn what_no_process_can_have_is_refused() {
        let usual = OciConfig::default;
        let cases = [
            (OciConfig { cmd: words(&["a\0b"]), ..usual() }, "NUL"),
            (OciConfig { env: words(&["A=\0"]), ..usual() }, "NUL"),
            (OciConfig { user: "\0".to_owned(), ..usual() }, "NUL"),
            (OciConfig { env: words(&["=x"]), ..usual() }, "no name"),
            (OciConfig { env: words(&[""]), ..usual() }, "no name"),
            (OciConfig { working_dir: "srv".to_owned(), ..usual() }, "begin with '/'"),
            (OciConfig { stop_signal: "SIGNOTHING".to_owned(), ..usual() }, "StopSignal"),
        ];
        for (config, expected) in cases {
            let error = process(&config).unwrap_err().to_string();
            assert!(error.contains(expected), "{config:?}: {error}");
        }
    }
}

//! Who runs the command: names are looked up in the image's own files, numbers need not be there.
//!
//! The rules, and what happens where two of them meet, are those of runc's `libcontainer/user`, which Docker and
//! containerd use: the first line that fits wins, a number is always a number, supplementary groups come only where no
//! group is named.

/// Greatest number of a user or a group that is taken, as by runc.
const NUMBER_MAX: u32 = i32::MAX as u32;
/// Where somebody lives who is not in the image's files.
const NO_HOME: &str = "/";

/// A user as the kernel wants one, and where that user is at home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups. The first is the group itself.
    pub groups: Vec<u32>,
    /// Folder for `HOME`.
    pub home: String,
}

/// A line of `/etc/passwd` (passwd(5)).
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// A line of `/etc/group` (group(5)).
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Finds `user`, which is `NAME`, `NUMBER`, either with `:GROUP` behind it, or empty for root; `passwd` and `group` are
/// the texts of the image's files, empty where there are none.
///
/// # Errors
/// The name is in neither file, or the number is none that a user can have: a line for a person.
pub fn look_up(user: &str, passwd: &str, group: &str) -> Result<Credentials, String> {
    let (name, group_name) = user.split_once(':').unwrap_or((user, ""));
    let uid = number(name);
    let account = accounts(passwd).find(|account| match (name, uid) {
        ("", _) => account.uid == 0,
        (_, Some(uid)) => account.uid == uid,
        _ => account.name == name,
    });
    let known = account.as_ref().map(|account| account.name);
    let mut found = match (account, uid) {
        (Some(Account { uid, gid, home, .. }), _) => {
            Credentials { uid, gid, groups: vec![], home: home.to_owned() }
        }
        (None, None) if !name.is_empty() => {
            return Err(format!("user '{name}' is not in /etc/passwd of the image"));
        }
        (None, uid) => {
            Credentials { uid: uid.unwrap_or(0), gid: 0, groups: vec![], home: NO_HOME.to_owned() }
        }
    };
    if found.home.is_empty() {
        found.home = NO_HOME.to_owned();
    }
    let mut others = Vec::new();
    if group_name.is_empty() {
        let is_member = |group: &Group<'_>| group.members.split(',').any(|member| Some(member) == known);
        others.extend(groups(group).filter(is_member).map(|group| group.gid));
    } else {
        let gid = number(group_name);
        let in_file =
            groups(group).find(|group| gid.map_or(group.name == group_name, |gid| group.gid == gid));
        found.gid = in_file
            .map(|group| group.gid)
            .or(gid)
            .ok_or_else(|| format!("group '{group_name}' is not in /etc/group of the image"))?;
    }
    if found.uid > NUMBER_MAX || found.gid > NUMBER_MAX {
        return Err(format!("'{user}' is more than a user's number can be ({NUMBER_MAX})"));
    }
    found.groups.push(found.gid);
    found.groups.extend(others);
    Ok(found)
}

fn number(text: &str) -> Option<u32> {
    // A number that no user can have is no name either.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().map(str::trim).filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(1).unwrap_or("");
        Some(Account { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    })
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().map(str::trim).filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Group { name, gid: gid.parse().ok()?, members: fields.next().unwrap_or("") })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# a comment\n\nann:x:1000:1000:Ann,,,:/srv/ann:/bin/sh\n\
        ann:x:2000:2000::/srv/other:/bin/sh\nbob:x:1000:1001::/srv/bob:/bin/sh\nnohome:x:7:7::\n\
        1234:x:5000:5001::/srv/digits:\nbroken:x\nshort:x:9:9\nsysd:x:33:33::/var/www:\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:ann,bob\nstaff:x:50:ann\nann:x:1000:\naudio:x:29:sysd , ann\n9999:x:60:\nbroken\n";

    fn shown(user: &str) -> String {
        match look_up(user, PASSWD, GROUP) {
            Ok(Credentials { uid, gid, groups, home }) => format!("{uid}:{gid} {groups:?} {home}"),
            Err(why) => why,
        }
    }

    #[test]
    fn users_as_runc_finds_them() {
        let cases = [
            ("", "0:0 [0] /root"),
            ("root", "0:0 [0] /root"),
            ("0", "0:0 [0] /root"),
            ("0:0", "0:0 [0] /root"),
            ("root:root", "0:0 [0] /root"),
            ("ann", "1000:1000 [1000, 4, 50] /srv/ann"),
            ("1000", "1000:1000 [1000, 4, 50] /srv/ann"),
            ("ann:", "1000:1000 [1000, 4, 50] /srv/ann"),
            ("ann:ann", "1000:1000 [1000] /srv/ann"),
            ("ann:staff", "1000:50 [50] /srv/ann"),
            ("1000:50", "1000:50 [50] /srv/ann"),
            ("1000:4242", "1000:4242 [4242] /srv/ann"),
            ("bob", "1000:1001 [1001, 4] /srv/bob"),
            (":staff", "0:50 [50] /root"),
            ("4242", "4242:0 [0] /"),
            ("4242:4343", "4242:4343 [4343] /"),
            ("4242:staff", "4242:50 [50] /"),
            ("nohome", "7:7 [7] /"),
            ("short", "9:9 [9] /"),
            // A name of digits is a number.
            ("1234", "1234:0 [0] /"),
            ("ann:9999", "1000:9999 [9999] /srv/ann"),
            ("2147483647", "2147483647:0 [0] /"),
            ("2147483648", "'2147483648' is more than a user's number can be (2147483647)"),
            (
                "99999999999999999999",
                "'99999999999999999999' is more than a user's number can be (2147483647)",
            ),
            ("ann:4294967295", "'ann:4294967295' is more than a user's number can be (2147483647)"),
            ("eve", "user 'eve' is not in /etc/passwd of the image"),
            ("-1", "user '-1' is not in /etc/passwd of the image"),
            ("broken", "user 'broken' is not in /etc/passwd of the image"),
            ("ann:eve", "group 'eve' is not in /etc/group of the image"),
        ];
        for (user, expected) in cases {
            assert_eq!(shown(user), expected, "{user}");
        }
    }

    #[test]
    fn an_image_without_files_has_numbers_and_root() {
        let home = |user: &str| look_up(user, "", "").map(|found| (found.uid, found.gid, found.home));
        assert_eq!(home(""), Ok((0, 0, "/".to_owned())));
        assert_eq!(home("1000:1000"), Ok((1000, 1000, "/".to_owned())));
        assert!(home("root").is_err());
    }
}

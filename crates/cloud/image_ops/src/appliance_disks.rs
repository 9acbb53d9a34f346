//! Which disk of an appliance becomes the image: the one that has something on it, or the one that a person chose.
//!
//! An image has one disk. The others of a machine are data of one machine, and not of all that are made of an image: each
//! becomes an image by itself where that is wanted, or a file.

use std::path::Path;

use image_import::{Appliance, ApplianceDisk};
use messages::did_you_mean;

use crate::ImageError;

/// Most disks that a message names.
const NAMED_MAX: usize = 8;

/// The disks of an appliance, in the order in which its controllers have them.
pub(crate) struct Disks<'a> {
    /// Those with a file.
    full: Vec<ChosenDisk<'a>>,
    /// How many have none, and are empty at first.
    empty: usize,
}

/// A disk with a file of this name.
#[derive(Clone, Copy)]
pub(crate) struct ChosenDisk<'a> {
    pub(crate) name: &'a str,
    pub(crate) disk: &'a ApplianceDisk,
}

impl<'a> Disks<'a> {
    pub(crate) fn of(appliance: &'a Appliance) -> Disks<'a> {
        let named = |disk: &'a ApplianceDisk| Some(ChosenDisk { name: disk.file.as_deref()?, disk });
        let full: Vec<ChosenDisk<'a>> = appliance.disks.iter().filter_map(named).collect();
        let empty = appliance.disks.len() - full.len();
        Disks { full, empty }
    }

    /// The one that is `wanted`, by its file's name or its number; without a wish the only one.
    ///
    /// # Errors
    /// There is none, or no such one, or it is not said which of several.
    pub(crate) fn choose(
        &self,
        appliance: &Path,
        wanted: Option<&str>,
    ) -> Result<ChosenDisk<'a>, ImageError> {
        let appliance = appliance.display();
        let refuse = |why: String| Err(ImageError::Refused(format!("appliance {appliance} has {why}")));
        match (wanted, self.full.as_slice()) {
            (_, []) => refuse("no disk with anything on it".to_owned()),
            (None, [disk]) => Ok(*disk),
            (None, several) => refuse(format!(
                "{} disks ({}), and an image has one; give --disk with the name or number of the one that boots",
                several.len(),
                self.list()
            )),
            (Some(wanted), disks) => match self.find(wanted) {
                Some(disk) => Ok(disk),
                None => refuse(format!(
                    "no disk '{}' ({}){}",
                    messages::shortened(wanted, 255),
                    self.list(),
                    did_you_mean(wanted, disks.iter().map(|disk| disk.name))
                )),
            },
        }
    }

    fn find(&self, wanted: &str) -> Option<ChosenDisk<'a>> {
        let by_name = self.full.iter().find(|disk| disk.name == wanted);
        let by_number = || self.full.get(wanted.parse::<usize>().ok()?.checked_sub(1)?);
        by_name.or_else(by_number).copied()
    }

    /// `1: a.vmdk, 2: b.vmdk`
    fn list(&self) -> String {
        let numbered = self.full.iter().enumerate().take(NAMED_MAX);
        let mut names: Vec<String> =
            numbered.map(|(index, disk)| format!("{}: {}", index + 1, disk.name)).collect();
        if self.full.len() > NAMED_MAX {
            names.push(format!("and {} more", self.full.len() - NAMED_MAX));
        }
        names.join(", ")
    }

    /// What to say of disks beside the one of this name.
    pub(crate) fn left_out(&self, chosen: &str) -> Vec<String> {
        let mut notes = Vec::new();
        if self.full.len() > 1 {
            notes.push(format!(
                "{chosen} becomes the image; the others ({}) are left out, and --disk makes an image of each, which \
                 'yagura image export' writes to a file for --disk path=FILE of a VM",
                self.list()
            ));
        }
        match self.empty {
            0 => {}
            1 => notes.push("its empty disk is left out; 'yagura disk create' makes one".to_owned()),
            empty => {
                notes.push(format!("its {empty} empty disks are left out; 'yagura disk create' makes one"));
            }
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn appliance(files: &[Option<&str>]) -> Appliance {
        let disk =
            |file: &Option<&str>| ApplianceDisk { file: file.map(str::to_owned), ..ApplianceDisk::default() };
        Appliance { disks: files.iter().map(disk).collect(), ..Appliance::default() }
    }

    /// The disks, the wish, the file that is chosen or words of the refusal.
    type Case<'a> = (&'a [Option<&'a str>], Option<&'a str>, &'a str);

    #[test]
    fn a_disk_is_chosen_by_name_or_number() {
        let (a, b, two) = (Some("a.vmdk"), Some("b.vmdk"), Some("2"));
        let cases: &[Case] = &[
            (&[a], None, "a.vmdk"),
            (&[None, a, None], None, "a.vmdk"),
            (&[a, b], two, "b.vmdk"),
            (&[a, b], Some("a.vmdk"), "a.vmdk"),
            // A name goes before a number.
            (&[two, a], two, "2"),
            (&[None, a, b], Some("1"), "a.vmdk"),
            (&[], None, "no disk with anything on it"),
            (&[None, None], Some("1"), "no disk with anything on it"),
            (&[a, b], None, "2 disks (1: a.vmdk, 2: b.vmdk), and an image has one; give --disk"),
            (&[a, b], Some("0"), "no disk '0' (1: a.vmdk, 2: b.vmdk)"),
            (&[a, b], Some("3"), "no disk '3' (1: a.vmdk"),
            (&[a, b], Some("-1"), "no disk '-1'"),
            (&[a, Some("data.vmdk")], Some("data.vmkd"), "did you mean 'data.vmdk'?"),
            (&[a], Some("x\u{1b}[2J"), "no disk 'x\\u{1b}[2J'"),
        ];
        for (files, wanted, expected) in cases {
            let appliance = appliance(files);
            let found = Disks::of(&appliance).choose(Path::new("web.ova"), *wanted);
            match found.map(|chosen| chosen.name) {
                Ok(name) => assert_eq!(name, *expected, "{files:?} {wanted:?}"),
                Err(error) => {
                    let line = error.to_string();
                    assert!(line.starts_with("appliance web.ova has ") && line.contains(expected), "{line}");
                }
            }
        }
    }

    #[test]
    fn what_is_left_out_is_said_and_lists_are_short() {
        let notes = |files: &[Option<&str>], chosen| Disks::of(&appliance(files)).left_out(chosen).join("\n");
        assert_eq!(notes(&[Some("a")], "a"), "");
        assert!(
            notes(&[Some("a"), Some("b"), None], "b")
                .contains("b becomes the image; the others (1: a, 2: b)")
        );
        assert!(notes(&[Some("a"), None, None], "a").contains("its 2 empty disks are left out"));
        let many = vec![Some("a.vmdk"); 64];
        let refused =
            Disks::of(&appliance(&many)).choose(Path::new("web.ova"), None).map(|_| ()).unwrap_err();
        assert!(refused.to_string().contains("8: a.vmdk, and 56 more)"), "{refused}");
    }
}

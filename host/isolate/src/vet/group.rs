//! Whether a file that its group may write can be written by anybody else after all.
//!
//! Many systems give every account a group of its own and a umask of 002, so that whatever their users make is
//! writable by a group with nobody else in it. Such a group has the name of the account, is its primary group, and
//! lists no other member; nor is it another account's primary group. What is asked are the C library's databases,
//! and so NIS, LDAP and the like where they are in use. Accounts that such a service does not enumerate are not
//! seen: there the name has to do, as it does for `pam_umask`, which sets that umask for the same reason.
//!
//! An access list is another matter: with one, the group's bits in the mode are the most that anybody on the list
//! may do. A file that has one is not private to anyone.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use uzers::os::unix::GroupExt as _;
use uzers::{Group, User};

/// Where Linux keeps a file's access list.
const ACCESS_LIST: &str = "system.posix_acl_access";

/// Whether only one of `owners` can write what `group` may write at `path`.
pub fn is_of_one(path: &Path, group: u32, owners: &[u32]) -> bool {
    !has_access_list(path) && owners.iter().any(|owner| is_private(group, *owner))
}

fn has_access_list(path: &Path) -> bool {
    // Without room for it the kernel says how long it is, or that there is none, or that such things do not exist
    // in this file system.
    let mut none: [u8; 0] = [];
    rustix::fs::getxattr(path, ACCESS_LIST, &mut none[..]).is_ok()
}

fn is_private(group: u32, owner: u32) -> bool {
    let (account, group) = (uzers::get_user_by_uid(owner), uzers::get_group_by_gid(group));
    let Some((account, group)) = account.zip(group) else { return false };
    // The C library goes through the accounts with one cursor for the whole process.
    static CURSOR: Mutex<()> = Mutex::new(());
    let _alone = CURSOR.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: nobody else in this process moves the cursor.
    is_only(&account, &group, unsafe { uzers::all_users() })
}

/// Whether `account`, and none of `others`, is in `group`.
fn is_only(account: &User, group: &Group, mut others: impl Iterator<Item = User>) -> bool {
    account.primary_group_id() == group.gid()
        && group.name() == account.name()
        && group.members().iter().all(|member| member == account.name())
        && !others.any(|other| other.primary_group_id() == group.gid() && other.name() != account.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> User {
        User::new(1000, "ada", 1000)
    }

    fn of(name: &str, members: &[&str]) -> Group {
        members.iter().fold(Group::new(1000, name), |group, member| group.add_member(member))
    }

    #[test]
    fn a_group_with_the_accounts_name_and_no_other_member_is_its_own() {
        let others = || [User::new(0, "root", 0), ada(), User::new(1001, "bob", 1001)].into_iter();
        assert!(is_only(&ada(), &of("ada", &[]), others()));
        assert!(is_only(&ada(), &of("ada", &["ada"]), others()));
        assert!(!is_only(&ada(), &of("ada", &["ada", "bob"]), others()), "bob is listed");
        assert!(!is_only(&ada(), &of("staff", &[]), others()), "a name that others may be put under");
        assert!(!is_only(&User::new(1000, "ada", 100), &of("ada", &[]), others()), "not her primary group");
        let bob = User::new(1001, "bob", 1000);
        assert!(!is_only(&ada(), &of("ada", &[]), others().chain([bob])), "it is bob's primary group too");
    }

    #[test]
    fn a_group_or_an_account_without_a_name_is_nobodys_own() {
        let unknown = (1_000_000..).find(|id| uzers::get_group_by_gid(*id).is_none()).unwrap();
        assert!(!is_private(unknown, 0) && !is_private(0, unknown));
    }
}

//! Takes the network away from one thread and whatever it starts, for good. Linux only: a filter on
//! the system call `socket` that refuses the internet's address families and leaves all else alone.

/// `struct sock_filter`.
#[cfg(target_os = "linux")]
#[repr(C)]
struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    k: u32,
}

/// `struct sock_fprog`.
#[cfg(target_os = "linux")]
#[repr(C)]
struct Program {
    len: u16,
    filter: *const Instruction,
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const SOCKET: Option<u32> = Some(41);
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
const SOCKET: Option<u32> = Some(198);
#[cfg(all(target_os = "linux", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
const SOCKET: Option<u32> = None;

/// From now on this thread and its children cannot make internet sockets.
///
/// # Errors
/// With why that is not possible here.
#[cfg(target_os = "linux")]
pub fn this_thread() -> Result<(), String> {
    // SAFETY: the signature is that of the C library.
    unsafe extern "C" {
        fn prctl(option: i32, ...) -> i32;
    }
    const SET_SECCOMP: i32 = 22;
    const SET_NO_NEW_PRIVS: i32 = 38;
    const FILTER: usize = 2;
    const ALLOW: u32 = 0x7fff_0000;
    /// `SECCOMP_RET_ERRNO | EAFNOSUPPORT`, what a machine without a network says.
    const REFUSE: u32 = 0x0005_0000 | 97;
    let Some(socket) = SOCKET else { return Err("not known how on this machine".into()) };
    let load = |offset| Instruction { code: 0x20, jump_true: 0, jump_false: 0, k: offset };
    let equals = |k, jump_true, jump_false| Instruction { code: 0x15, jump_true, jump_false, k };
    let give = |k| Instruction { code: 0x06, jump_true: 0, jump_false: 0, k };
    let filter = [
        load(0),              // the number of the call
        equals(socket, 0, 3), // another one: allow
        load(16),             // the first argument: the address family
        equals(2, 2, 0),      // AF_INET
        equals(10, 1, 0),     // AF_INET6
        give(ALLOW),
        give(REFUSE),
    ];
    let program = Program { len: filter.len() as u16, filter: filter.as_ptr() };
    // SAFETY: the program and its filter live for the calls, which copy them.
    let set = unsafe {
        prctl(SET_NO_NEW_PRIVS, 1_usize, 0_usize, 0_usize, 0_usize) == 0
            && prctl(SET_SECCOMP, FILTER, &raw const program) == 0
    };
    if set { Ok(()) } else { Err(format!("the system does not let us: {}", std::io::Error::last_os_error())) }
}

/// Not known how elsewhere.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn this_thread() -> Result<(), String> {
    Err("not known how on this system".into())
}

#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn internet_sockets_are_refused_in_that_thread_only_and_others_are_not() {
        let refused = std::thread::spawn(|| {
            if super::this_thread().is_err() {
                return true; // Not allowed in this container.
            }
            let families = ["127.0.0.1:0", "[::1]:0"];
            let refused = families
                .iter()
                .all(|address| UdpSocket::bind(address).is_err_and(|error| error.raw_os_error() == Some(97)));
            refused && UnixDatagram::unbound().is_ok()
        });
        assert!(refused.join().unwrap());
        UdpSocket::bind("127.0.0.1:0").unwrap();
    }
}

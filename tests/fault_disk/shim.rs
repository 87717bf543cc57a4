//! The shim between SQLite and the system's "unix" VFS: everything is passed on to real files, and what happens to the
//! files of a watched directory is written down, or refused, by that directory's [`Recorder`].
//!
//! Device characteristics are those of the unix VFS, powersafe overwrite among them, since the daemon runs with them:
//! SQLite takes it that a write torn by a power cut spoils nothing beside the bytes it writes, and so does the disk
//! model. [`Recorder::careless`] takes the flag away: then SQLite pads each commit in the WAL to the end of a sector,
//! and the model may spoil whole sectors.
#![expect(unsafe_code, reason = "a VFS is a table of C functions; there is no safe wrapper")]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;
use std::sync::{Arc, Once, OnceLock};

use rusqlite::ffi::{self, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs};

use super::recorder::{self, Recorder};

/// What SQLite holds for an open file: its table of functions, our part, and right after it the unix VFS's own file.
#[repr(C)]
struct ShimFile {
    methods: *const sqlite3_io_methods,
    /// Null: nobody watches this file.
    watched: *mut Watched,
}

struct Watched {
    recorder: Arc<Recorder>,
    file: usize,
    /// The unix VFS syncs the directory with the first sync of a journal or WAL that it may have made.
    directory_too: bool,
}

struct Unix(*mut sqlite3_vfs);

// SAFETY: SQLite's VFS objects are registered for the life of the process and may be called from any thread.
unsafe impl Send for Unix {}
// SAFETY: as above.
unsafe impl Sync for Unix {}

static UNIX: OnceLock<Unix> = OnceLock::new();

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    // Without xFetch: no mapping, every byte comes by here.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// From now on every connection of this process goes through the shim.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the unix VFS is there once SQLite is initialised; ours is a copy of it with other functions, which
        // lives as long as the process.
        unsafe {
            ffi::sqlite3_initialize();
            let unix = ffi::sqlite3_vfs_find(c"unix".as_ptr());
            assert!(!unix.is_null(), "there is no unix VFS");
            UNIX.get_or_init(|| Unix(unix));
            let mut shim = ptr::read(unix);
            shim.szOsFile += size_of::<ShimFile>() as c_int;
            shim.pNext = ptr::null_mut();
            shim.zName = c"fault-disk".as_ptr();
            shim.xOpen = Some(open);
            shim.xDelete = Some(delete);
            let shim = Box::leak(Box::new(shim));
            assert_eq!(ffi::sqlite3_vfs_register(shim, 1), ffi::SQLITE_OK);
        }
    });
}

fn unix() -> *mut sqlite3_vfs {
    UNIX.get().map_or(ptr::null_mut(), |unix| unix.0)
}

/// SAFETY: `file` is one that [`open`] has filled.
unsafe fn real(file: *mut sqlite3_file) -> *mut sqlite3_file {
    unsafe { file.cast::<u8>().add(size_of::<ShimFile>()).cast() }
}

/// SAFETY: `file` is one that [`open`] has filled, and its unix half is open.
unsafe fn unix_methods<'a>(file: *mut sqlite3_file) -> &'a sqlite3_io_methods {
    unsafe { &*(*real(file)).pMethods }
}

/// SAFETY: as above; SQLite uses a file from one thread at a time.
unsafe fn watched<'a>(file: *mut sqlite3_file) -> Option<&'a mut Watched> {
    unsafe { (*file.cast::<ShimFile>()).watched.as_mut() }
}

/// SAFETY: `name` is a C string or null.
unsafe fn recorder_of(name: *const c_char) -> Option<(Arc<Recorder>, String)> {
    if name.is_null() {
        return None;
    }
    let path = Path::new(unsafe { CStr::from_ptr(name) }.to_str().ok()?);
    let recorder = recorder::of(path.parent()?)?;
    Some((recorder, path.file_name()?.to_str()?.to_owned()))
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives a buffer of szOsFile bytes, and the unix VFS fills the part after ours.
    unsafe {
        let shim = file.cast::<ShimFile>();
        (*shim).methods = ptr::null();
        (*shim).watched = ptr::null_mut();
        let recorder = recorder_of(name);
        let making = flags & ffi::SQLITE_OPEN_CREATE != 0;
        if let Some((recorder, name)) = &recorder
            && let Err(code) = recorder.may_open(name, making)
        {
            return code;
        }
        let Some(open) = (*unix()).xOpen else { return ffi::SQLITE_CANTOPEN };
        let code = open(unix(), name, real(file), flags, out);
        if code != ffi::SQLITE_OK {
            return code;
        }
        if let Some((recorder, name)) = recorder {
            let kinds = ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL | ffi::SQLITE_OPEN_WAL;
            let directory_too = making && flags & kinds != 0;
            let file = recorder.opened(&name);
            (*shim).watched = Box::into_raw(Box::new(Watched { recorder, file, directory_too }));
        }
        (*shim).methods = &raw const METHODS;
        code
    }
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: passed on as it came.
    unsafe {
        let Some(delete) = (*unix()).xDelete else { return ffi::SQLITE_IOERR_DELETE };
        let code = delete(unix(), name, sync_directory);
        if code == ffi::SQLITE_OK
            && let Some((recorder, name)) = recorder_of(name)
        {
            recorder.deleted(&name, sync_directory != 0);
        }
        code
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: the last call for this file; `watched` came from a box.
    unsafe {
        let shim = file.cast::<ShimFile>();
        let code = unix_methods(file).xClose.map_or(ffi::SQLITE_OK, |close| close(real(file)));
        if !(*shim).watched.is_null() {
            drop(Box::from_raw((*shim).watched));
            (*shim).watched = ptr::null_mut();
        }
        (*shim).methods = ptr::null();
        code
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    data: *const c_void,
    length: c_int,
    at: sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives `length` bytes.
    unsafe {
        let Some(write) = unix_methods(file).xWrite else { return ffi::SQLITE_IOERR_WRITE };
        let Some(watched) = watched(file) else {
            return write(real(file), data, length, at);
        };
        let bytes = std::slice::from_raw_parts(data.cast::<u8>(), length as usize);
        match watched.recorder.may_write(watched.file, at as u64, bytes) {
            Ok(()) => {
                let code = write(real(file), data, length, at);
                assert_eq!(code, ffi::SQLITE_OK, "the real disk below the test does not take a write");
                watched.recorder.written(watched.file, at as u64, bytes);
                code
            }
            Err(refused) => {
                if refused.taken > 0 {
                    write(real(file), data, refused.taken as c_int, at);
                    watched.recorder.written(watched.file, at as u64, &bytes[..refused.taken]);
                }
                refused.code
            }
        }
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    // SAFETY: passed on as it came.
    unsafe {
        let code = unix_methods(file).xTruncate.map_or(ffi::SQLITE_OK, |truncate| truncate(real(file), size));
        if let (ffi::SQLITE_OK, Some(watched)) = (code, watched(file)) {
            watched.recorder.truncated(watched.file, size as u64);
        }
        code
    }
}

/// Not passed on for a watched file: what a sync means is the recorder's to say, and the real disk is not to wear.
unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    // SAFETY: passed on as it came.
    unsafe {
        let Some(watched) = watched(file) else {
            return unix_methods(file).xSync.map_or(ffi::SQLITE_OK, |sync| sync(real(file), flags));
        };
        let code = watched.recorder.synced(watched.file, watched.directory_too);
        if code == ffi::SQLITE_OK {
            watched.directory_too = false;
        }
        code
    }
}

unsafe extern "C" fn device_characteristics(file: *mut sqlite3_file) -> c_int {
    // SAFETY: passed on as it came.
    unsafe {
        let own = unix_methods(file).xDeviceCharacteristics.map_or(0, |ask| ask(real(file)));
        match watched(file) {
            Some(watched) if watched.recorder.is_careless() => own & !ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE,
            _ => own,
        }
    }
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    // SAFETY: passed on as it came.
    unsafe {
        let own = unix_methods(file).xSectorSize.map_or(0, |ask| ask(real(file)));
        match watched(file) {
            Some(watched) if watched.recorder.is_careless() => super::SECTOR as c_int,
            _ => own,
        }
    }
}

/// The rest is passed on as it comes.
macro_rules! passed_on {
    ($($name:ident $method:ident ($($arg:ident: $type:ty),*) $none:expr;)*) => {$(
        unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $arg: $type)*) -> c_int {
            // SAFETY: passed on as it came.
            unsafe { unix_methods(file).$method.map_or($none, |call| call(real(file) $(, $arg)*)) }
        }
    )*};
}

passed_on! {
    read xRead (to: *mut c_void, length: c_int, at: sqlite3_int64) ffi::SQLITE_IOERR_READ;
    file_size xFileSize (size: *mut sqlite3_int64) ffi::SQLITE_IOERR_FSTAT;
    lock xLock (level: c_int) ffi::SQLITE_IOERR_LOCK;
    unlock xUnlock (level: c_int) ffi::SQLITE_IOERR_UNLOCK;
    check_reserved_lock xCheckReservedLock (out: *mut c_int) ffi::SQLITE_IOERR_CHECKRESERVEDLOCK;
    file_control xFileControl (op: c_int, arg: *mut c_void) ffi::SQLITE_NOTFOUND;
    shm_map xShmMap (page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void) ffi::SQLITE_IOERR_SHMMAP;
    shm_lock xShmLock (offset: c_int, n: c_int, flags: c_int) ffi::SQLITE_IOERR_SHMLOCK;
    shm_unmap xShmUnmap (delete: c_int) ffi::SQLITE_OK;
}

unsafe extern "C" fn shm_barrier(file: *mut sqlite3_file) {
    // SAFETY: passed on as it came.
    unsafe {
        if let Some(barrier) = unix_methods(file).xShmBarrier {
            barrier(real(file));
        }
    }
}

package dev.imago.storage;

import dev.imago.internal.Buffers;
import dev.imago.internal.LinuxFile;
import dev.imago.internal.LinuxFile.Opened;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Map;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** From a path to an open, judged, locked and, if wanted, emptied file. */
final class FileOpener {
  private static final int BLOCK_DEVICE = 6;
  private static final int REGULAR = 8;
  private static final int NEW_FILE_MODE = 0644;

  /** What O_DIRECT requests are aligned to at least, and if the system does not say. */
  private static final int BLOCK = 4096;

  /** What is done about a file that is not there, and about the bytes of one that is. */
  enum Existence {
    /** It must be there. */
    REQUIRED,
    /** It is made if it is not there, and left as it is if it is. */
    ENSURED,
    /** It is made if it is not there, and emptied if it is. */
    NEW
  }

  private FileOpener() {}

  static FileStorage open(Path path, FileStorage.Options options, Existence existence)
      throws IOException {
    if (!path.getFileSystem().equals(FileSystems.getDefault())) {
      throw new IllegalArgumentException(path + " is not a file of the host");
    }
    boolean calls = options.nativeAccess() && LinuxFile.available();
    OpenWays.Ticket ticket = OpenWays.enter(key(path, calls), calls);
    try {
      if (ticket.byCalls()) {
        return openNative(path.toString(), options, existence, ticket);
      }
      if (options.direct()) {
        throw new StorageIoException(
            path.toString(),
            "bypassing the page cache needs native access (--enable-native-access=dev.imago)");
      }
      return openJava(path, options, existence, ticket);
    } catch (IOException | RuntimeException e) {
      ticket.close();
      throw e;
    }
  }

  private static OpenWays.@Nullable Key key(Path path, boolean calls) throws IOException {
    if (calls) {
      LinuxFile.Stat stat = LinuxFile.stat(path.toString());
      return stat == null ? null : OpenWays.Key.of(stat);
    }
    Identity identity = identity(path);
    return identity == null ? null : identity.key() instanceof OpenWays.Key key ? key : null;
  }

  private static FileStorage openNative(
      String name, FileStorage.Options options, Existence existence, OpenWays.Ticket ticket)
      throws IOException {
    // Looked at before it is opened, because opening some devices has effects of its own; and again
    // on the descriptor, which is what counts.
    LinuxFile.Stat before = LinuxFile.stat(name);
    if (before != null) {
      judge(name, before.kind());
    }
    boolean create = existence == Existence.NEW;
    int flags =
        (options.writable() ? LinuxFile.RDWR : LinuxFile.RDONLY)
            | (existence == Existence.REQUIRED ? 0 : LinuxFile.CREAT)
            | LinuxFile.NONBLOCK
            | LinuxFile.NOCTTY;
    LinuxFile file = opened(name, LinuxFile.open(name, flags, NEW_FILE_MODE));
    HostFile host = null;
    try {
      LinuxFile.Stat stat = file.stat();
      if (stat == null) {
        throw new StorageIoException(name, "the system does not say what kind of file this is");
      }
      ticket.opened(OpenWays.Key.of(stat));
      boolean blockDevice = judge(name, stat.kind());
      QemuLocks.OpenFile locks = new QemuLocks.OpenFile(name, file);
      if (options.lock() || create) {
        locksFor(options).take(name, locks);
      }
      host = host(name, file, options, stat); // may refuse, so before anything is lost
      if (create && !blockDevice) {
        host.empty();
      }
      if (create && !options.lock()) {
        locksFor(options).giveBack(locks);
      }
      return FileStorage.of(name, host, options, blockDevice, ticket);
    } catch (IOException | RuntimeException e) {
      try {
        if (host != null) {
          host.close();
        }
      } catch (IOException second) {
        e.addSuppressed(second);
      } finally {
        file.close();
      }
      throw e;
    }
  }

  private static HostFile host(
      String name, LinuxFile file, FileStorage.Options options, LinuxFile.Stat stat)
      throws IOException {
    boolean blockDevice = stat.kind() == BLOCK_DEVICE;
    if (!options.direct()) {
      VirtualChannel virtual = new VirtualChannel(file.procName(), options.writable());
      return new NativeFile(name, file, blockDevice, true, virtual);
    }
    int alignment = Math.max(BLOCK, stat.directAlign());
    int memoryAlignment = stat.memoryAlign() > 0 ? stat.memoryAlign() : BLOCK;
    if (stat.directAlign() == 0
        || Integer.bitCount(alignment) != 1
        || memoryAlignment > Buffers.ALIGNMENT) {
      throw new StorageIoException(name, "this file system cannot bypass the page cache");
    }
    int access = options.writable() ? LinuxFile.RDWR : LinuxFile.RDONLY;
    LinuxFile second = opened(name, file.reopen(access | LinuxFile.DIRECT));
    return new DirectFile(
        new NativeFile(name, file, blockDevice, true, null),
        new NativeFile(name, second, blockDevice, false, null),
        alignment,
        memoryAlignment);
  }

  private static FileStorage openJava(
      Path path, FileStorage.Options options, Existence existence, OpenWays.Ticket ticket)
      throws IOException {
    String name = path.toString();
    boolean create = existence == Existence.NEW;
    Identity before = identity(path);
    if (before == null && existence == Existence.REQUIRED) {
      openRandomAccess(name, false).close(); // fails, in the system's words
      throw new NoSuchFileException(name, null, Errno.text(LinuxFile.ENOENT));
    }
    boolean blockDevice = before != null && judge(name, before.kind());
    RandomAccessFile file = openRandomAccess(name, options.writable());
    Identity after = identity(path);
    Identity own = before != null ? before : after;
    ProcessLocks.Share share =
        ProcessLocks.join(
            own == null ? path.toRealPath() : own.key(), own == null ? -1 : own.inode(), file);
    try {
      // The platform tells nothing of an open file, only of a name.
      if (after == null || own != null && !own.key().equals(after.key())) {
        throw new StorageIoException(name, "the file was replaced while it was opened");
      }
      judge(name, after.kind());
      if (after.key() instanceof OpenWays.Key key) {
        ticket.opened(key);
      }
      if (options.lock() || create) {
        locksFor(options).take(name, share);
      }
      JavaFile host = new JavaFile(name, file, share, after.key(), realPath(path, after));
      if (create && !blockDevice) {
        host.empty();
      }
      if (create && !options.lock()) {
        share.unlock();
      }
      return FileStorage.of(name, host, options, blockDevice, ticket);
    } catch (IOException | RuntimeException e) {
      share.close();
      throw e;
    }
  }

  /** Where the file is that has just been opened; null if that cannot be said any more. */
  private static @Nullable Path realPath(Path path, Identity opened) throws IOException {
    Path real = path.toRealPath();
    Identity there = identity(real);
    return there != null && there.key().equals(opened.key()) ? real : null;
  }

  private static RandomAccessFile openRandomAccess(String name, boolean writable)
      throws IOException {
    try {
      return new RandomAccessFile(name, writable ? "rw" : "r");
    } catch (FileNotFoundException e) {
      // "name (reason)"
      String message = String.valueOf(e.getMessage());
      int reason = message.lastIndexOf('(');
      String text = reason < 0 ? message : message.substring(reason + 1, message.length() - 1);
      throw withCause(
          switch (text) {
            case "No such file or directory" -> new NoSuchFileException(name, null, text);
            case "Permission denied" -> new AccessDeniedException(name, null, text);
            default -> new StorageIoException(name, text);
          },
          e);
    }
  }

  private static IOException withCause(IOException e, Throwable cause) {
    e.initCause(cause);
    return e;
  }

  /** What a file is known by as long as it exists, and what kind it is. */
  private record Identity(Object key, long inode, int kind) {}

  /** Null if there is no such file. */
  private static @Nullable Identity identity(Path path) throws IOException {
    try {
      if (FileSystems.getDefault().supportedFileAttributeViews().contains("unix")) {
        Map<String, Object> unix = Files.readAttributes(path, "unix:mode,dev,ino");
        long inode = number(unix, "ino");
        OpenWays.Key key = new OpenWays.Key(number(unix, "dev"), inode);
        return new Identity(key, inode, (int) number(unix, "mode") >>> 12);
      }
      Map<String, Object> basic = Files.readAttributes(path, "isRegularFile");
      return new Identity(
          path.toRealPath(), -1, Boolean.TRUE.equals(basic.get("isRegularFile")) ? REGULAR : -1);
    } catch (NoSuchFileException e) {
      return null;
    } catch (FileSystemException e) {
      if (e instanceof AccessDeniedException) {
        throw withCause(new AccessDeniedException(path.toString(), null, "Permission denied"), e);
      }
      String reason = e.getReason();
      throw withCause(new StorageIoException(path.toString(), reason == null ? "?" : reason), e);
    }
  }

  private static long number(Map<String, Object> attributes, String name) {
    return ((Number) Objects.requireNonNull(attributes.get(name))).longValue();
  }

  private static QemuLocks locksFor(FileStorage.Options options) {
    return options.writable() ? QemuLocks.WRITER : QemuLocks.READER;
  }

  private static LinuxFile opened(String name, Opened opened) throws IOException {
    // Not a switch over types: the JVM spins a class for it when it first meets one (5 ms and
    // more).
    if (opened instanceof Opened.Failed failed) {
      throw StorageIoException.opening(name, failed.errno());
    }
    return ((Opened.File) opened).file();
  }

  /** Whether it is a block device; anything that is not a file either is refused. */
  private static boolean judge(String name, int kind) throws IOException {
    String word =
        switch (kind) {
          case REGULAR, BLOCK_DEVICE -> "";
          case 1 -> "a FIFO";
          case 2 -> "a character device";
          case 4 -> "a directory";
          case 12 -> "a socket";
          default -> "neither";
        };
    if (!word.isEmpty()) {
      throw new StorageIoException(
          name,
          "'file' driver requires '%s' to be a regular file or a block device, but it is %s"
              .formatted(name, word));
    }
    return kind == BLOCK_DEVICE;
  }
}

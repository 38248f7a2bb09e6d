package dev.imago.storage;

import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import org.jspecify.annotations.Nullable;

/**
 * The operating system refused something. {@link #getFile} is the storage's name, {@link
 * #getReason} the system's own words ("No space left on device"), without the name.
 *
 * <p>A file that is not there or may not be opened is reported as the platform's {@link
 * NoSuchFileException} or {@link AccessDeniedException}, whose two methods say the same.
 */
public final class StorageIoException extends FileSystemException {
  private static final long serialVersionUID = 1L;

  private final @Nullable String operation;
  private final long hostOffset;

  /** The operation failed as a whole, not at some offset. */
  public StorageIoException(String name, String reason) {
    this(name, reason, null, -1);
  }

  /**
   * Says where it failed.
   *
   * @param operation what was done, as in "write of 512 bytes", or null
   * @param hostOffset the first byte that was not read or written, or -1
   */
  public StorageIoException(
      String name, String reason, @Nullable String operation, long hostOffset) {
    super(name, null, reason);
    this.operation = operation;
    this.hostOffset = hostOffset;
  }

  /**
   * What an error of the operating system's is called.
   *
   * @param errno Linux's number of it, positive
   */
  public static StorageIoException ofErrno(
      String name, int errno, String operation, long hostOffset) {
    return new StorageIoException(name, Errno.text(errno), operation, hostOffset);
  }

  /** The first byte that was not read or written, or -1 if no offset was involved. */
  public long hostOffset() {
    return hostOffset;
  }

  @Override
  public String getMessage() {
    String message = getFile() + ": " + getReason();
    if (operation == null) {
      return message;
    }
    return hostOffset < 0
        ? message + " (" + operation + ")"
        : "%s (%s at host offset 0x%x)".formatted(message, operation, hostOffset);
  }

  /** What it means that opening {@code name} gave this errno. */
  static IOException opening(String name, int errno) {
    String reason = Errno.text(errno);
    return switch (errno) {
      case 2 -> new NoSuchFileException(name, null, reason);
      case 13 -> new AccessDeniedException(name, null, reason);
      default -> new StorageIoException(name, reason);
    };
  }
}

package dev.imago.cli;

import dev.imago.CheckUnsupportedException;
import dev.imago.CompareException;
import dev.imago.ConvertException;
import dev.imago.Images;
import dev.imago.ReferenceFailedException;
import dev.imago.UnknownFormatException;
import dev.imago.image.EncryptionKeyException;
import dev.imago.image.ImageException;
import dev.imago.image.ImageFormatException;
import dev.imago.image.References;
import dev.imago.storage.StorageLockedException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;

/** Finds the words and the exit code for everything that can go wrong. */
final class Errors {
  private Errors() {}

  /** The one switch from exception to answer. Failures and usage errors bring their own words. */
  static Failure failure(Throwable thrown) {
    return switch (thrown) {
      case Failure failure -> failure;
      case UncheckedIOException e when e.getCause() != null -> failure(e.getCause());
      case ConvertException e -> new Failure(convert(e), 1, e);
      case CompareException e ->
          new Failure(
              "Error while "
                  + (e.mapping() ? "querying the allocation of" : "reading")
                  + " offset "
                  + e.guestOffset()
                  + " of "
                  + e.image()
                  + ": "
                  + cause(e),
              e.mapping() ? 3 : 4,
              e);
      case CheckUnsupportedException e ->
          new Failure("This image format does not support checks", 63, e);
      case UnknownFormatException e ->
          new Failure("Unknown file format '" + e.format() + "'", 1, e);
      case IOException e -> new Failure(text(e), 1, e);
      case OutOfMemoryError e ->
          new Failure("not enough memory\nhint: IMAGO_JAVA_OPTS=-Xmx… gives more of it", 1, e);
      case Throwable e ->
          new Failure(
              "internal error: "
                  + e
                  + (e.getStackTrace().length > 0 ? " at " + e.getStackTrace()[0] : "")
                  + "\nhint: this is a mistake in imago, not in your image: please report it",
              1,
              e);
    };
  }

  private static String convert(ConvertException e) {
    return "error while "
        + (e.writing() ? "writing" : "reading")
        + " at byte "
        + e.guestOffset()
        + ": "
        + cause(e);
  }

  /** Why a long operation failed; of several images it is not clear which, so it is named. */
  static String cause(IOException e) {
    return switch (e.getCause()) {
      case ImageException image -> image.image() + ": " + text(image);
      case IOException cause -> text(cause);
      case null, default -> String.valueOf(e.getMessage());
    };
  }

  /** What happened, without the name of the file it happened to where QEMU says it elsewhere. */
  static String text(IOException thrown) {
    return switch (thrown) {
      case StorageLockedException e ->
          "Failed to get "
              + e.lock()
              + " lock\nIs another process using the image ["
              + e.name()
              + "]?";
      case FileSystemException e -> reason(e);
      case ImageFormatException e when e.field().equals("magic") -> "Image is not in qcow2 format";
      case ImageException e when e.field().equals("bitmap") ->
          e.problem() + (e.advice().isEmpty() ? "" : "\n" + e.advice());
      case EncryptionKeyException e -> e.problem();
      case ImageException e when e.field().equals("lazy refcounts") -> e.problem();
      case ImageException e ->
          place(e) + ": " + e.problem() + (e.advice().isEmpty() ? "" : "\nhint: " + e.advice());
      case UnknownFormatException e -> "Unknown driver '" + e.format() + "'";
      case ReferenceFailedException e when e.getCause() instanceof IOException cause ->
          "Could not open '" + e.reference() + "': " + text(cause);
      case IOException e -> e.getMessage() == null ? e.toString() : e.getMessage();
    };
  }

  private static String place(ImageException e) {
    return e.hostOffset() < 0
        ? e.field()
        : e.field() + " at host offset 0x" + Long.toHexString(e.hostOffset());
  }

  private static String reason(FileSystemException thrown) {
    String reason = thrown.getReason();
    if (isDirectory(thrown)) {
      return "'file' driver requires '" + thrown.getFile() + "' to be a regular file";
    }
    if (reason != null) {
      return reason;
    }
    return switch (thrown) {
      case NoSuchFileException _ -> "No such file or directory";
      case AccessDeniedException _ -> "Permission denied";
      case FileAlreadyExistsException _ -> "File exists";
      case FileSystemException e -> e.getClass().getSimpleName();
    };
  }

  /** Says why an image file could not be opened: {@code Could not open 'F': …}. */
  static Failure opening(FileName name, IOException thrown, int exitCode) {
    if (thrown instanceof CheckUnsupportedException) {
      return failure(thrown); // it was opened
    }
    return new Failure(
        "Could not open '" + name.typed() + "': " + whyNotOpen(name, thrown), exitCode, thrown);
  }

  /** The part behind {@code Could not open 'F': }. */
  static String whyNotOpen(FileName name, IOException thrown) {
    return switch (thrown) {
      case ReferenceFailedException e ->
          backing(layersTo(name, e.image()) + (e.dataFile() ? 0 : 1))
              + (e.getCause() instanceof IOException cause ? whyNotOpen(cause) : text(e));
      case ImageException e when !e.image().isEmpty() ->
          backing(layersTo(name, e.image())) + text(e);
      case IOException e -> whyNotOpen(e);
    };
  }

  /** As {@link #whyNotOpen(FileName, IOException)}, for a file that {@code image} is to name. */
  static String whyNotNamed(FileName image, FileName named, IOException thrown) {
    boolean itself =
        thrown instanceof ReferenceFailedException e && e.image().equals(image.literal());
    return itself && thrown.getCause() instanceof IOException cause
        ? whyNotOpen(cause)
        : whyNotOpen(named, thrown);
  }

  private static String whyNotOpen(IOException thrown) {
    return thrown instanceof FileSystemException e && !isWrongKind(e)
        ? "Could not open '" + e.getFile() + "': " + reason(e)
        : text(thrown);
  }

  /** A directory, a FIFO…: its reason is a sentence that names the file. */
  private static boolean isWrongKind(FileSystemException e) {
    String reason = e.getReason();
    return reason != null && reason.startsWith("'file' driver");
  }

  /** Whether a file could not be opened because it is a directory. */
  static boolean isDirectory(FileSystemException e) {
    String reason = e.getReason();
    return isWrongKind(e) && reason != null && reason.endsWith("it is a directory");
  }

  private static String backing(int layers) {
    return "Could not open backing file: ".repeat(layers);
  }

  /** How far below an image another one is that it stands on; 0 if it does not. */
  private static int layersTo(FileName name, String image) {
    try {
      Path layer = Path.of(name.literal());
      for (int depth = 0; depth < References.MAX_DEPTH; depth++) {
        if (layer.toString().equals(image)) {
          return depth;
        }
        String backing = Images.inspect(layer, null, true).backingFile();
        if (backing == null) {
          break;
        }
        layer = Images.resolveName(layer, backing);
      }
    } catch (IOException | RuntimeException e) {
      // The message is about another failure: this one only makes it shorter.
      return 0;
    }
    return 0;
  }
}

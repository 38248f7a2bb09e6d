package dev.imago.cli;

import dev.imago.CheckUnsupportedException;
import dev.imago.CompareException;
import dev.imago.ConvertException;
import dev.imago.Images;
import dev.imago.Inspection;
import dev.imago.UnknownFormatException;
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

  private static String cause(IOException e) {
    return e.getCause() instanceof IOException cause ? text(cause) : String.valueOf(e.getMessage());
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
      case ImageException e ->
          place(e) + ": " + e.problem() + (e.advice().isEmpty() ? "" : "\nhint: " + e.advice());
      case UnknownFormatException e -> "Unknown driver '" + e.format() + "'";
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
    return new Failure(
        "Could not open '" + name.typed() + "': " + whyNotOpen(name, thrown), exitCode, thrown);
  }

  /** The part behind {@code Could not open 'F': }. */
  static String whyNotOpen(FileName name, IOException thrown) {
    if (!(thrown instanceof FileSystemException e)) {
      return text(thrown);
    }
    String text = "Could not open '" + e.getFile() + "': " + reason(e);
    return e.getFile() == null || e.getFile().equals(name.literal())
        ? text
        : layers(name, e.getFile()) + text;
  }

  /** {@code Could not open backing file: } for each layer above the one that names the file. */
  private static String layers(FileName name, String failed) {
    StringBuilder text = new StringBuilder();
    try {
      Path image = Path.of(name.literal());
      for (int depth = 0; depth < References.MAX_DEPTH; depth++) {
        Inspection found = Images.inspect(image, null, true);
        if (found.dataFile() != null
            && Images.resolveName(image, found.dataFile()).toString().equals(failed)) {
          break;
        }
        if (found.backingFile() == null) {
          break;
        }
        text.append("Could not open backing file: ");
        image = Images.resolveName(image, found.backingFile());
        if (image.toString().equals(failed)) {
          break;
        }
      }
    } catch (IOException | RuntimeException e) {
      // The message is about another failure: this one only made it shorter.
      return text.toString();
    }
    return text.toString();
  }
}

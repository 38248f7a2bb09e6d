package dev.imago.cli;

import dev.imago.Images;
import dev.imago.ReferenceFailedException;
import dev.imago.UnknownFormatException;
import dev.imago.image.CorruptImageException;
import dev.imago.image.EncryptionKeyException;
import dev.imago.storage.StorageLockedException;
import org.jspecify.annotations.Nullable;

/** What to do next after a failure: the last line of a message, which qemu-img does not have. */
final class Advice {
  private Advice() {}

  /** The advice, without {@code hint: }; empty if there is none, or the message has its own. */
  static String on(Failure failure) {
    String message = failure.getMessage();
    if (message.contains("\nhint: ")) {
      return "";
    }
    String byMessage = onMessage(message);
    for (Throwable cause = failure;
        byMessage.isEmpty() && cause != null;
        cause = cause.getCause()) {
      byMessage = onCause(cause);
    }
    return byMessage;
  }

  private static String onMessage(String message) {
    if (message.contains("refused by --safe: its format")) {
      return "if it is a raw disk, say -f raw";
    }
    if (message.contains("refused by --safe")) {
      return "'imago inspect' tells all that the image names; without --safe it would be opened";
    }
    if (message.contains("Unknown driver '") || message.contains("Unknown file format '")) {
      String formats = String.join(", ", Images.formats());
      String near = Nearest.of(quoted(message), Images.formats());
      return near.isEmpty() ? "known formats: " + formats : "did you mean '" + near + "'?";
    }
    if (message.contains("without backing format")
        || message.contains("requires explicit backing format")) {
      return "add -F and the backing file's format, such as -F qcow2";
    }
    if (message.contains("Unknown protocol '")) {
      return "if that is a file's name, write file: or ./ before it";
    }
    if (message.contains("No space left on device")) {
      return "convert -c makes smaller images; -O qcow2 leaves zeroes out on any file system";
    }
    if (message.startsWith("Invalid parameter '")) {
      return "-o help lists the options of a format";
    }
    return "";
  }

  /** What stands in the last quotes. */
  private static String quoted(String message) {
    int end = message.lastIndexOf('\'');
    int begin = end < 1 ? -1 : message.lastIndexOf('\'', end - 1);
    return begin < 0 ? "" : message.substring(begin + 1, end);
  }

  private static String onCause(@Nullable Throwable cause) {
    return switch (cause) {
      case StorageLockedException _ ->
          "stop the guest first; info, map, check and convert can look at it meanwhile with -U";
      case EncryptionKeyException _ ->
          "--object secret,id=key,file=PASSPHRASE --image-opts"
              + " driver=qcow2,file.filename=FILE,encrypt.key-secret=key";
      case ReferenceFailedException e when !e.dataFile() ->
          "'imago rebase -u -b NAME -F FMT FILE' has the image name another backing file";
      case CorruptImageException _ -> "'imago check FILE' tells all that is wrong";
      case UnknownFormatException _ -> "known formats: " + String.join(", ", Images.formats());
      case null, default -> "";
    };
  }
}

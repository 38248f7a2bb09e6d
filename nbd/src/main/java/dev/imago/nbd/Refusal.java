package dev.imago.nbd;

import dev.imago.image.ReadOnlyImageException;
import dev.imago.nbd.wire.CommandType;
import dev.imago.nbd.wire.Limits;
import dev.imago.nbd.wire.NbdError;
import dev.imago.nbd.wire.Request;
import dev.imago.nbd.wire.Text;
import dev.imago.storage.StorageIoException;
import java.nio.file.AccessDeniedException;
import org.jspecify.annotations.Nullable;

/**
 * Why a request is not done: what a client is told. Everything that can be known without the image
 * is looked at here, before anything is touched.
 *
 * @param text for people, at most 400 bytes
 */
record Refusal(NbdError error, String text) {
  private static final int MAX_TEXT = 400;

  /** What is wrong with a request, or null. Those whose lengths are 0 are fine but BLOCK_STATUS. */
  static @Nullable Refusal of(
      Request request, @Nullable CommandType type, Agreement agreement, boolean stopping) {
    if (type == null) {
      return invalid("invalid request type (" + request.type() + ") received");
    }
    if (stopping) {
      return new Refusal(NbdError.ESHUTDOWN, "the server is shutting down");
    }
    if (!flagsFit(request, type, agreement)) {
      return invalid(
          "unsupported flags for command %s (got 0x%x)".formatted(type, request.flags()));
    }
    if (isChange(type) && agreement.export().readOnly()) {
      return new Refusal(NbdError.EPERM, "Export is read-only");
    }
    return type == CommandType.FLUSH
        ? request.offset() == 0 && request.length() == 0
            ? null
            : invalid("FLUSH has no offset and no length")
        : ofRange(request, type, agreement);
  }

  private static @Nullable Refusal ofRange(Request request, CommandType type, Agreement agreement) {
    // Of a BLOCK_STATUS with a payload the length is in there.
    boolean filtered = type == CommandType.BLOCK_STATUS && request.has(CommandType.PAYLOAD_LEN);
    long size = agreement.export().size();
    long length = filtered ? 0 : request.length();
    if (request.offset() < 0
        || length < 0
        || request.offset() > size
        || length > size - request.offset()) {
      boolean grows = type == CommandType.WRITE || type == CommandType.WRITE_ZEROES;
      return new Refusal(
          grows ? NbdError.ENOSPC : NbdError.EINVAL,
          "operation past EOF; From: %s, Len: %s, Size: %d"
              .formatted(
                  Long.toUnsignedString(request.offset()), Long.toUnsignedString(length), size));
    }
    if (type == CommandType.READ && length > Limits.PAYLOAD) {
      return invalid("a read of %d bytes; at most %d".formatted(length, Limits.PAYLOAD));
    }
    if (type == CommandType.BLOCK_STATUS && agreement.contexts().isEmpty()) {
      return invalid("CMD_BLOCK_STATUS not negotiated");
    }
    if (type == CommandType.BLOCK_STATUS && !filtered && length == 0) {
      return invalid("need non-zero length");
    }
    return null;
  }

  private static boolean flagsFit(Request request, CommandType type, Agreement agreement) {
    boolean extended = agreement.style() == ReplyStyle.EXTENDED;
    boolean payload = request.has(CommandType.PAYLOAD_LEN);
    boolean payloadFits =
        switch (type) {
          case WRITE -> payload == extended;
          case BLOCK_STATUS -> !payload || extended;
          default -> !payload;
        };
    boolean inPieces = agreement.style().chunked() || !request.has(CommandType.DF);
    return payloadFits && inPieces && type.allows(request.flags());
  }

  private static boolean isChange(CommandType type) {
    return switch (type) {
      case WRITE, TRIM, WRITE_ZEROES -> true;
      default -> false;
    };
  }

  private static Refusal invalid(String text) {
    return new Refusal(NbdError.EINVAL, text);
  }

  /** The one switch from what an image throws to what a client is told. */
  static NbdError error(Throwable thrown) {
    return switch (thrown) {
      case ReadOnlyImageException _, AccessDeniedException _ -> NbdError.EPERM;
      case StorageIoException e when isFull(e.getReason()) -> NbdError.ENOSPC;
      case OutOfMemoryError _ -> NbdError.ENOMEM;
      case Throwable _ -> NbdError.EIO;
    };
  }

  private static boolean isFull(@Nullable String reason) {
    return switch (reason) {
      case "No space left on device", "Disk quota exceeded", "File too large" -> true;
      case null, default -> false;
    };
  }

  /** What a client may read about a failure: no names of this host's files. */
  static String text(Throwable thrown) {
    String text = error(thrown).text();
    if (thrown instanceof StorageIoException e && e.getReason() != null) {
      text = e.getReason();
    }
    return Text.bytes(text) <= MAX_TEXT ? text : error(thrown).text();
  }
}

package dev.imago.cli;

import dev.imago.filter.FaultStorage;
import dev.imago.image.Image;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** What the commands of {@code io} work on: at most one open image, and requests under way. */
final class IoSession {
  private final Terminal terminal;
  private final IoRequests requests = new IoRequests();
  private @Nullable Image image;
  private @Nullable IoTarget target;
  private List<FaultStorage> faulty = List.of();
  private boolean overlaid;
  private boolean ended;

  IoSession(Terminal terminal) {
    this.terminal = terminal;
  }

  Terminal terminal() {
    return terminal;
  }

  IoRequests requests() {
    return requests;
  }

  /** Whether {@code quit} was among the commands. */
  boolean ended() {
    return ended;
  }

  /** No more commands are wanted. */
  void end() {
    ended = true;
  }

  boolean isOpen() {
    return image != null;
  }

  /** The open image. */
  Image image() throws IoFailure {
    if (image == null) {
      throw IoFailure.complained("no file open, try 'help open'");
    }
    return image;
  }

  /** How the open image was opened. */
  IoTarget target() throws IoFailure {
    if (target == null) {
      throw IoFailure.complained("no file open, try 'help open'");
    }
    return target;
  }

  /** The storages below the open image that can hold requests up. */
  List<FaultStorage> faulty() {
    return faulty;
  }

  /** Opens an image where none is open. */
  void open(IoTarget how) throws Failure {
    IoTarget.Opened opened = how.open(terminal);
    image = opened.image();
    faulty = opened.faulty();
    target = how;
    overlaid = how.snapshot() && !how.readOnly();
  }

  /** Has the open image open in another way. What was written under {@code -s} stays. */
  void reopen(IoTarget how) throws IoFailure, Failure, IOException {
    IoTarget old = target();
    if (overlaid) {
      // What was written is in a file without a name. Its cache and counts are nobody's concern.
      requests.await();
      target = how;
      return;
    }
    // Not the new one first: its lock is the old one's.
    close();
    try {
      open(how);
    } catch (Failure e) {
      open(old);
      throw e;
    }
  }

  /** Waits for what is under way, and closes the image if one is open. */
  void close() throws IOException {
    // Nobody is left who could resume them.
    faulty.forEach(FaultStorage::resumeAll);
    faulty = List.of();
    requests.await();
    Image closing = image;
    image = null;
    target = null;
    if (closing != null) {
      closing.close();
    }
  }

  /** Runs one line; false if that failed. What went wrong has been said by then. */
  boolean run(String line) {
    List<String> words = new ArrayList<>();
    for (String word : line.split(" ", -1)) {
      if (!word.isEmpty()) {
        words.add(word);
      }
    }
    if (words.isEmpty()) {
      return true;
    }
    try {
      run(words);
      return true;
    } catch (IoFailure e) {
      e.tell(terminal);
    } catch (Failure e) {
      terminal.error(e.getMessage());
    } catch (IOException e) {
      terminal.error(Errors.text(e));
    } catch (IllegalArgumentException e) {
      terminal.error(String.valueOf(e.getMessage())); // a size that the format cannot have
    }
    return false;
  }

  private void run(List<String> words) throws IoFailure, Failure, IOException {
    IoVerb verb = IoVerbs.find(words.getFirst());
    if (verb == null) {
      throw IoFailure.complained("command \"" + words.getFirst() + "\" not found");
    }
    if (verb.needs() != IoVerb.Needs.NOTHING) {
      image();
    }
    verb.requireCount(words);
    if (verb.needs() == IoVerb.Needs.WRITABLE_IMAGE
        && (image().readOnly() || target().readOnly())) {
      throw new Failure("Block node is read-only");
    }
    verb.body().run(this, new IoArguments(verb, terminal, words));
  }
}

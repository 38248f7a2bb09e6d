package dev.imago.testing;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** QEMU's tools as judges. They must be installed: a test that needs them fails without. */
public final class Qemu {
  private Qemu() {}

  /** What {@code qemu-img check} counted. */
  public record Check(long corruptions, long leaks, long checkErrors, String output) {
    /** Fails the test if anything at all was found. */
    public void clean() {
      withoutErrors();
      if (leaks != 0) {
        throw new AssertionError("leaks: " + output);
      }
    }

    /** Fails the test if anything but leaked clusters was found. */
    public void withoutErrors() {
      if (corruptions != 0 || checkErrors != 0) {
        throw new AssertionError("corrupt: " + output);
      }
    }
  }

  /** Runs {@code qemu-img}; its status must be 0. */
  public static String img(Object... arguments) throws IOException, InterruptedException {
    List<Object> command = new ArrayList<>(List.of("qemu-img"));
    command.addAll(List.of(arguments));
    return Tool.run(command.toArray()).ok().out();
  }

  /** Runs commands in one {@code qemu-io} on an image; none may fail or find a wrong pattern. */
  public static String io(Path image, List<String> commands)
      throws IOException, InterruptedException {
    List<Object> command = new ArrayList<>(List.of("qemu-io", "-f", "qcow2"));
    for (String each : commands) {
      command.add("-c");
      command.add(each);
    }
    command.add(image);
    String out = Tool.run(command.toArray()).ok().out();
    if (out.contains("failed") || out.contains("rror")) {
      throw new AssertionError("qemu-io: " + out);
    }
    return out;
  }

  /** Checks a qcow2 image; it is not changed. */
  public static Check check(Path image) throws IOException, InterruptedException {
    return check(Tool.run("qemu-img", "check", "-f", "qcow2", "--output=json", image));
  }

  /** The same for an image encrypted with LUKS. */
  public static Check check(Path image, String passphrase)
      throws IOException, InterruptedException {
    return check(
        Tool.run(
            "qemu-img",
            "check",
            "--output=json",
            "--object",
            "secret,id=key,data=" + passphrase,
            "--image-opts",
            encrypted(image)));
  }

  /** For {@code --image-opts}: an encrypted qcow2 image; its key is the secret {@code key}. */
  public static String encrypted(Path image) {
    return "driver=qcow2,file.filename=" + image + ",encrypt.key-secret=key";
  }

  /** Has {@code qemu-img} repair all that it can, and checks what is left. */
  public static Check repair(Path image) throws IOException, InterruptedException {
    Tool.run("qemu-img", "check", "-q", "-f", "qcow2", "-r", "all", image).ok();
    return check(image);
  }

  /** The same for an image encrypted with LUKS. */
  public static Check repair(Path image, String passphrase)
      throws IOException, InterruptedException {
    String secret = "secret,id=key,data=" + passphrase;
    List<Object> words = new ArrayList<>(List.of("qemu-img", "check", "-q", "-r", "all"));
    words.addAll(List.of("--object", secret, "--image-opts", encrypted(image)));
    Tool.run(words.toArray()).ok();
    return check(image, passphrase);
  }

  private static Check check(Tool.Outcome outcome) {
    String text = outcome.toString();
    if (outcome.status() != 0 && outcome.status() != 2 && outcome.status() != 3) {
      throw new AssertionError(text);
    }
    return new Check(
        number(outcome.out(), "corruptions"),
        number(outcome.out(), "leaks"),
        number(outcome.out(), "check-errors"),
        text);
  }

  /** All guest bytes, as QEMU reads them. */
  public static byte[] read(Path image, Path scratch) throws IOException, InterruptedException {
    img("convert", "-f", "qcow2", "-O", "raw", image, scratch);
    byte[] bytes = Files.readAllBytes(scratch);
    Files.delete(scratch);
    return bytes;
  }

  private static long number(String json, String name) {
    Matcher matcher = Pattern.compile("\"" + name + "\": (\\d+)").matcher(json);
    return matcher.find() ? Long.parseLong(matcher.group(1)) : 0;
  }
}

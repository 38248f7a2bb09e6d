package dev.imago.cli;

import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * What the launcher runs once after a build, so that the JVM can note in its AOT cache what the
 * commands need. Runs the usual commands in the working directory, which must be empty, and does
 * not care what comes of them.
 */
final class Training {
  private static final String[][] COMMANDS = {
    {"--help"},
    {"create", "-q", "-f", "raw", "a.raw", "4M"},
    {"create", "-f", "qcow2", "a.qcow2", "64M"},
    {"convert", "-p", "-O", "qcow2", "training.raw", "b.qcow2"},
    {"convert", "-O", "raw", "b.qcow2", "b.raw"},
    {"convert", "-O", "qcow2", "b.qcow2", "c.qcow2"},
    {"create", "-f", "qcow2", "-b", "b.qcow2", "-F", "qcow2", "d.qcow2"},
    {"info", "b.qcow2"},
    {"info", "--output=json", "b.qcow2"},
    {"info", "--backing-chain", "d.qcow2"},
    {"info", "b.raw"},
    {"map", "b.qcow2"},
    {"map", "--output=json", "d.qcow2"},
    {"check", "b.qcow2"},
    {"compare", "training.raw", "b.qcow2"},
    {"resize", "d.qcow2", "+1M"},
    {"convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", "b.qcow2", "e.qcow2"},
    {"convert", "-O", "raw", "e.qcow2", "e.raw"},
    {"bench", "-c", "16", "-d", "2", "e.qcow2"},
    {"info", "there-is-none.qcow2"},
  };

  private Training() {}

  /** Takes the path of a small raw image. */
  public static void main(String[] args) throws Exception {
    Files.copy(Path.of(args[0]), Path.of("training.raw"));
    PrintStream nowhere = new PrintStream(OutputStream.nullOutputStream());
    for (String[] command : COMMANDS) {
      int code = Main.run(command, nowhere, nowhere);
      System.out.println(code + " " + String.join(" ", command));
    }
  }
}

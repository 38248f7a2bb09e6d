package dev.imago.cli;

import dev.imago.nbd.NbdServer;
import java.lang.management.ManagementFactory;
import java.util.ResourceBundle;
import javax.management.JMException;
import javax.management.ObjectName;
import org.jspecify.annotations.Nullable;

/**
 * What a server says, on the error stream: what failed, and, if asked for, who comes and goes. What
 * it counts can be seen by JMX.
 */
final class ServeLog implements System.Logger {
  private final Terminal terminal;
  private final boolean verbose;

  ServeLog(Terminal terminal, boolean verbose) {
    this.terminal = terminal;
    this.verbose = verbose;
  }

  /** Lets JMX see a server's counters, as {@code dev.imago.nbd:type=Server}. */
  static void export(NbdServer server) {
    try {
      ManagementFactory.getPlatformMBeanServer()
          .registerMBean(server.counters(), ObjectName.getInstance("dev.imago.nbd:type=Server"));
    } catch (JMException e) {
      throw new IllegalStateException(e);
    }
  }

  @Override
  public String getName() {
    return "dev.imago.nbd";
  }

  @Override
  public boolean isLoggable(Level level) {
    return verbose || level.getSeverity() >= Level.WARNING.getSeverity();
  }

  @Override
  public void log(
      Level level, @Nullable ResourceBundle bundle, String text, @Nullable Throwable thrown) {
    if (isLoggable(level)) {
      synchronized (terminal) {
        terminal.error(text);
        terminal.err().flush();
      }
    }
  }

  @Override
  public void log(
      Level level, @Nullable ResourceBundle bundle, String format, Object @Nullable ... values) {
    log(level, bundle, format, (Throwable) null);
  }
}

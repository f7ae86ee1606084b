// Judges the documents of a server, and looks at the page that shows them. Is told where it is, {"api": "http://.../api/v1",
// "user", "password"}, and writes a line of JSON for each, {"name", "version", "wrong": [...], "operations": [...]}.
import { setTimeout } from 'node:timers/promises'
import { Parser } from '@asyncapi/parser'
import { Validator } from '@seriousme/openapi-schema-validator'
import { JSDOM, VirtualConsole } from 'jsdom'

const told = JSON.parse(process.argv[2])

async function get(name) {
  const answer = await fetch(`${told.api}/${name}`)
  if (!answer.ok) throw new Error(`${name}: ${answer.status}`)
  return answer.json()
}

async function openapi(doc) {
  const validator = new Validator()
  const result = await validator.validate(doc)
  const wrong = result.valid ? [] : [result.errors].flat().map((e) => JSON.stringify(e))
  return { name: 'openapi', version: validator.version, wrong, operations: Object.keys(doc.paths) }
}

async function asyncapi(doc) {
  const { document, diagnostics } = await new Parser().parse(JSON.stringify(doc))
  // Severity 0 is an error, 1 a warning; the rest is advice, such as that there is a newer AsyncAPI.
  const wrong = diagnostics.filter((d) => d.severity <= 1).map((d) => `${d.path.join('/')}: ${d.message}`)
  return { name: 'asyncapi', version: document?.version(), wrong, operations: document?.allOperations().all().map((o) => o.id()) }
}

// until polls for what a page is about to show.
async function until(what, ok) {
  for (const end = Date.now() + 30_000; !ok(); await setTimeout(10)) {
    if (Date.now() > end) throw new Error(`the page does not show ${what}`)
  }
}

// page opens the page, and on it every operation and everything in it. change may alter openapi.json on its way.
async function page(change) {
  const wrong = []
  const asked = []
  const virtualConsole = new VirtualConsole()
  virtualConsole.on('jsdomError', (e) => wrong.push(String(e)))
  const dom = await JSDOM.fromURL(`${told.api}/docs`, {
    runScripts: 'dangerously', resources: 'usable', virtualConsole,
    beforeParse(window) {
      window.TextDecoder = TextDecoder
      window.fetch = async (url, options) => {
        const at = new URL(url, window.location.href)
        asked.push(at.href)
        const answer = await fetch(at, options)
        return at.pathname.endsWith('openapi.json') && change ? new Response(change(await answer.text())) : answer
      }
    },
  })
  const { document, Event } = dom.window
  await until('operations', () => document.querySelector('main section > details'))
  const operations = [...document.querySelectorAll('main section > details')]
  for (let deep = 0; deep < 5; deep++) {
    const closed = [...document.querySelectorAll('details:not([open])')]
    for (const box of closed) box.open = true // the event of it comes by itself
    if (closed.length === 0) break
    await setTimeout(0)
  }
  await until('what is in operations', () => operations.every((box) => box.querySelector('textarea')))
  return { dom, document, Event, wrong, asked, operations }
}

async function look() {
  const { dom, document, wrong, asked, operations } = await page()
  const call = async (id, body) => {
    const box = document.getElementById(id)
    if (body) box.querySelector('textarea').value = JSON.stringify(body)
    box.querySelector('button').click()
    await until(`an answer to ${id}`, () => /^\d/.test(box.querySelector('[role=status]').textContent))
    return box.querySelector('[role=status]').textContent + ' ' + box.querySelector('pre').textContent
  }
  const expect = (text, part) => text.includes(part) || wrong.push(`${part} is not in ${text}`)
  expect(await call('unread.get'), '401')
  expect(await call('login', { uid: told.user, password: told.password }), '200 OK')
  expect(await call('unread.get'), '"total": 0')
  expect(await call('send', { to: 'nobody-' }), 'err')
  const find = document.getElementById('find')
  find.value = 'unread'
  find.dispatchEvent(new dom.window.Event('input'))
  const found = operations.filter((box) => !box.hidden && !box.parentElement.hidden).map((box) => box.id)
  if (found.join() !== 'unread.get') wrong.push(`"unread" finds ${found}`)
  for (const at of asked) if (!at.startsWith(told.api + '/')) wrong.push(`the page asked ${at}`)
  dom.window.close()
  return { name: 'page', version: '', wrong, operations: operations.map((box) => box.querySelector('.name').textContent) }
}

// attack puts HTML into every text that the page shows.
async function attack() {
  const evil = '<img src=x onerror="window.evil=1"><script>window.evil=1</script>'
  const poison = (node) => {
    for (const [name, value] of Object.entries(node ?? {})) {
      if (['description', 'summary', 'title'].includes(name) && typeof value === 'string') node[name] = value + evil
      else if (typeof value === 'object') poison(value)
    }
    return node
  }
  const { dom, document, wrong, operations } = await page((text) => JSON.stringify(poison(JSON.parse(text))))
  if (document.querySelector('img') || document.querySelectorAll('script').length !== 1 || dom.window.evil) wrong.push('HTML came through')
  if (!document.querySelector('main').textContent.includes(evil)) wrong.push('the text is not shown')
  dom.window.close()
  return { name: 'attack', version: '', wrong, operations: operations.map((box) => box.querySelector('.name').textContent) }
}

console.log(JSON.stringify(await openapi(await get('openapi.json'))))
console.log(JSON.stringify(await asyncapi(await get('asyncapi.json'))))
console.log(JSON.stringify(await look()))
console.log(JSON.stringify(await attack()))
